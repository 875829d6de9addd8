"""Who a request's access token speaks for, by any OpenID Connect issuer that signs with RS256."""
