"""The demo's carriers: one server that plays Swift Post (EasyPost webhooks) and City Dash (native webhooks) over HTTP."""
