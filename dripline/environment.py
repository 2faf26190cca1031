"""What `${NAME}` means in a playbook.yaml: the environment, `.env`, and for want of these the shop and the sales inbox of `run`."""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from dotenv import dotenv_values

SALES_PATH = "/demo/sales"
SHOP_PATH = "/shop"
SAMPLE_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""Stands for the secret where a playbook is only checked; `run` makes one of its own."""


def playbook_environment(url: str = "http://127.0.0.1:8300", secret: str = SAMPLE_SECRET, *, demo: bool = True) -> dict[str, str]:
    """The environment, before it `.env`; in a demo also shop and inbox under `url`, and the inbox's secret, where neither names one."""
    ours = {"SALES_WEBHOOK_URL": url + SALES_PATH, "SALES_WEBHOOK_SECRET": secret, "SHOP_URL": url + SHOP_PATH}
    written = {name: value for name, value in dotenv_values(".env").items() if value is not None}
    return (ours if demo else {}) | written | dict(os.environ)


def is_own_inbox(url: str) -> bool:
    """Whether this looks like the inbox that `run` brings along; where that is depends on how it is started."""
    return urlsplit(url).path == SALES_PATH


def is_demo_sales(environ: Mapping[str, str], url: str) -> bool:
    """Whether hot leads go to the inbox of this very process."""
    return environ.get("SALES_WEBHOOK_URL") == url + SALES_PATH
