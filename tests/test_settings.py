"""Settings that together would lose something are refused, with both their names; addresses made of settings can be opened."""

import pytest

from collector.settings import Settings, SettingsError, load_settings


@pytest.mark.parametrize(("timeline", "leads"), [(90, 91), (90, 1), (394, 395), (3_000, 395)])
def test_a_silent_lead_has_to_outlive_the_timeline_by_two_days(timeline: int, leads: int) -> None:
    environ = {"LEADLIGHT_RETENTION_DAYS": str(timeline), "LEADLIGHT_LEAD_RETENTION_DAYS": str(leads)}
    with pytest.raises(SettingsError, match=f"LEADLIGHT_LEAD_RETENTION_DAYS .*{leads}.* LEADLIGHT_RETENTION_DAYS .*{timeline}"):
        load_settings(environ)
    with pytest.raises(ValueError, match="lead_retention_days"):
        Settings(retention_days=timeline, lead_retention_days=leads)


@pytest.mark.parametrize(("timeline", "leads"), [(90, 92), (1, 3), (393, 395)])
def test_two_days_more_will_do(timeline: int, leads: int) -> None:
    settings = load_settings({"LEADLIGHT_RETENTION_DAYS": str(timeline), "LEADLIGHT_LEAD_RETENTION_DAYS": str(leads)})
    assert settings.lead_retention - settings.retention >= 2 * 86_400_000


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")])
def test_the_address_made_of_host_and_port_is_an_address(host: str, url: str) -> None:
    assert Settings(host=host).base_url() == Settings(host=host).bound_url() == url


def test_a_file_has_one_process() -> None:
    with pytest.raises(SettingsError, match=r"LEADLIGHT_WORKERS .*PostgreSQL"):
        load_settings({"DATABASE_URL": "sqlite:///x.db", "LEADLIGHT_WORKERS": "2"})
    assert load_settings({"DATABASE_URL": "postgresql://localhost/x", "LEADLIGHT_WORKERS": "2"}).workers == 2


def test_what_kubernetes_tells_beside_a_service_of_this_name_is_no_setting() -> None:
    pod = {
        "LEADLIGHT_PORT": "tcp://10.0.0.7:8000",
        "LEADLIGHT_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "LEADLIGHT_SERVICE_HOST": "10.0.0.7",
    }
    assert load_settings(pod).port == 8_000
    with pytest.raises(SettingsError, match="port"):
        load_settings({"LEADLIGHT_PORT": "eighty"})


def test_networks_are_named_in_a_list_or_between_commas() -> None:
    settings = load_settings({"LEADLIGHT_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8"}, internal_networks=["2001:db8::/32"])
    assert (settings.trusted_proxies, settings.internal_networks) == (("127.0.0.1", "10.0.0.0/8"), ("2001:db8::/32",))


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "office", "300.1.1.1"])
def test_what_is_no_network_is_refused_by_name(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"LEADLIGHT_INTERNAL_NETWORKS .*such as 10\.0\.0\.0/8"):
        load_settings({"LEADLIGHT_INTERNAL_NETWORKS": wrong})
