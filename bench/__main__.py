"""`python -m bench [NAME …]`: run the benchmarks, or those named; each prints one JSON line."""

import argparse
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from bench import (
    api_list,
    cache_savings,
    cold_start,
    engine_vs_dbos,
    flow_control,
    import_app,
    map_parallel,
    noisy_tenant,
    package_size,
    provider_client,
    run_cost_growth,
    vault,
    warm_api,
)
from bench.measuring import Report

BENCHMARKS: Final[Mapping[str, Callable[[], Report]]] = MappingProxyType(
    {
        "import_app": import_app.measure,
        "package_size": package_size.measure,
        "cold_start_vs_plain": cold_start.vs_plain,
        "cold_start_vs_floor": cold_start.vs_floor,
        "cold_start_boto3": cold_start.boto3_supply,
        "warm_api": warm_api.measure,
        "api_list": api_list.measure,
        "engine_vs_dbos": engine_vs_dbos.measure,
        "flow_control": flow_control.measure,
        "map_parallel": map_parallel.measure,
        "noisy_tenant": noisy_tenant.measure,
        "provider_client": provider_client.measure,
        "run_cost_growth": run_cost_growth.measure,
        "cache_savings": cache_savings.measure,
        "vault": vault.measure,
    }
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; all without")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"There is no benchmark {', '.join(unknown)}. There are {', '.join(BENCHMARKS)}.")
    for name in names:
        print(BENCHMARKS[name]().line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
