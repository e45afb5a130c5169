from expedite_sample.store import metadata

from expedite_messaging.migrate import run_env

run_env(metadata)
