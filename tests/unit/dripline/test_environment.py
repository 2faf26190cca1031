"""What `${NAME}` means in a playbook."""

from pathlib import Path

import pytest

from dripline.environment import is_demo_sales, playbook_environment

HERE = "http://127.0.0.1:9000"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SALES_WEBHOOK_URL", raising=False)
    monkeypatch.delenv("SALES_WEBHOOK_SECRET", raising=False)
    monkeypatch.delenv("SHOP_URL", raising=False)


def test_where_nobody_is_named_sales_is_the_inbox_of_this_process():
    environ = playbook_environment(HERE, "whsec_own")
    assert environ["SALES_WEBHOOK_URL"] == "http://127.0.0.1:9000/demo/sales"
    assert environ["SALES_WEBHOOK_SECRET"] == "whsec_own"
    assert is_demo_sales(environ, HERE)


def test_where_no_shop_is_named_mails_lead_to_the_shop_of_this_process(monkeypatch: pytest.MonkeyPatch):
    assert playbook_environment(HERE)["SHOP_URL"] == "http://127.0.0.1:9000/shop"
    monkeypatch.setenv("SHOP_URL", "https://tea.example")
    assert playbook_environment(HERE)["SHOP_URL"] == "https://tea.example"


def test_a_named_endpoint_is_taken(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SALES_WEBHOOK_URL", "https://crm.example/hot")
    environ = playbook_environment(HERE, "whsec_own")
    assert environ["SALES_WEBHOOK_URL"] == "https://crm.example/hot"
    assert not is_demo_sales(environ, HERE)


def test_without_the_demo_nothing_is_made_up():
    environ = playbook_environment(HERE, "whsec_own", demo=False)
    assert {"SALES_WEBHOOK_URL", "SHOP_URL"}.isdisjoint(environ)
    assert not is_demo_sales(environ, HERE)


def test_a_file_of_settings_is_read_and_the_environment_goes_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / ".env").write_text("SALES_WEBHOOK_URL=https://file.example\nCRM=https://crm.example\nEMPTY\n")
    monkeypatch.setenv("SALES_WEBHOOK_URL", "https://environment.example")
    environ = playbook_environment(HERE, "whsec_own")
    assert environ["SALES_WEBHOOK_URL"] == "https://environment.example"
    assert environ["CRM"] == "https://crm.example"
    assert "EMPTY" not in environ
