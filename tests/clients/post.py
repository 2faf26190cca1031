"""Makes the calls it reads from stdin with Segment's Python client, unmodified: `python post.py HOST WRITE_KEY [gzip]`."""

import json
import re
import sys
from datetime import datetime

from segment.analytics.client import Client


def main() -> None:
    host, write_key, *options = sys.argv[1:]
    failures: list[str] = []
    client = Client(
        write_key, host=host, gzip="gzip" in options, upload_size=3, on_error=lambda error, items: failures.append(f"{error}: {items}")
    )
    for call in json.load(sys.stdin):
        make = getattr(client, call.pop("type"))
        arguments = {re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name): value for name, value in call.items()}
        make(**arguments | {"timestamp": datetime.fromisoformat(arguments["timestamp"])})
    client.flush()
    client.join()
    if failures:
        sys.exit("\n".join(failures))


main()
