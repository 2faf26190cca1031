"""Segment's own Python client under load while Dripline is killed; runs in the client's environment, until its input is closed.

`python segment_load.py HOST KEY` prints one JSON object at the end: the message ids it was given, and those it gave up on.
"""

import json
import sys
import threading
import time
import uuid

from segment.analytics.client import Client

STEPS = ("Ebook Downloaded", "Webinar Attended", "Link Clicked")


def main() -> None:
    host, key = sys.argv[1:3]
    failed: list[str] = []
    client = Client(key, host=host, on_error=lambda _, items: failed.extend(item["messageId"] for item in items), upload_interval=0.1)
    given: list[str] = []
    users: dict[str, tuple[str, ...]] = {}
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    while not ended.is_set():
        time.sleep(0.05)
        if client.queue.qsize() > client.queue.maxsize // 2:
            continue  # the server is away more than it is there: a full queue would drop events without a word
        user = f"client-{len(users) + 1}"
        users[user] = STEPS[: len(users) % 3 + 1]
        given.append(str(uuid.uuid4()))
        client.identify(user, {"email": f"{user}@example.com", "name": user, "consent": True}, message_id=given[-1])
        for name in users[user]:
            given.append(str(uuid.uuid4()))
            client.track(user, name, {"paid": True}, message_id=given[-1])
    client.flush()
    client.join()
    json.dump({"given": given, "failed": failed, "users": users}, sys.stdout)


if __name__ == "__main__":
    main()
