"""Every table, so that one import knows the whole schema."""

from chalicelib.db.models import agent, approval, crm, edge, event, fact, money, outreach, tenant
from chalicelib.db.models.base import Base

__all__ = ["Base", "agent", "approval", "crm", "edge", "event", "fact", "money", "outreach", "tenant"]
