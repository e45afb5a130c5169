"""The `expedite` command: real PostgreSQL and Kafka without Docker, a supervisor, the demo world, doctor and audit."""
