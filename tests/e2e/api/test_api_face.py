"""What the server shows to browsers and proxies: headers, other origins, forwarded addresses."""

import pytest

from tests.helpers.played_api import Api, StartApi

UI = "https://ui.example.org"


class TestHeaders:
    async def test_every_answer_holds_browsers_back(self, api: Api) -> None:
        job_id = await api.submit()
        await api.controller.start(job_id)
        await api.controller.finish(job_id)
        paths = [
            "/",
            "/docs",
            "/openapi.json",
            "/jobs",
            f"/jobs/{job_id}",
            f"/jobs/{job_id}/log",
            "/metrics",
            "/nothing",
        ]
        for path in [*paths, f"/jobs/{job_id}/stream?from_beginning=true", "/health"]:
            for accept in ("*/*", "text/html"):
                answer = await api.client.get(path, headers={"accept": accept})
                for name in ("x-content-type-options", "content-security-policy", "referrer-policy", "cache-control"):
                    assert len(answer.headers.get_list(name)) == 1, (path, name)
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
                assert answer.headers["referrer-policy"] == "no-referrer"
                assert not any(name.startswith("access-control-") for name in answer.headers)

    async def test_what_has_no_other_rule_is_not_stored(self, api: Api) -> None:
        assert (await api.client.get("/jobs")).headers["cache-control"] == "no-store"
        assert (await api.client.get("/keys")).headers["cache-control"] == "no-store"


class TestOtherOrigins:
    async def test_none_is_let_in_by_default(self, api: Api) -> None:
        asked = {"origin": UI, "access-control-request-method": "POST"}
        answer = await api.client.options("/jobs", headers=asked)
        assert answer.status_code == 405
        assert "access-control-allow-origin" not in answer.headers
        assert (await api.client.post("/jobs", json={"type": "echo"}, headers={"origin": UI})).status_code == 403

    async def test_named_ones_are(self, start_api: StartApi) -> None:
        api = await start_api(cors_origins=UI)
        asked = {
            "origin": UI,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
        }
        answer = await api.client.options("/jobs", headers=asked)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (204, UI)
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-allow-headers"] == "authorization"
        assert "access-control-allow-credentials" not in answer.headers
        site = {"origin": UI, "sec-fetch-site": "cross-site"}
        made = await api.client.post("/jobs", json={"image": "x", "command": "true"}, headers=site)
        assert (made.status_code, made.headers["access-control-allow-origin"]) == (202, UI)
        job_id = made.json()["job_id"]
        await api.controller.start(job_id)
        await api.controller.finish(job_id)
        for path in ("/jobs", "/nothing", f"/jobs/{job_id}/stream?from_beginning=true"):
            answer = await api.client.get(path, headers=site)
            assert answer.headers.get_list("access-control-allow-origin") == [UI]
            assert "Origin" in answer.headers["vary"]

    @pytest.mark.parametrize("origin", ["https://ui.example.org.evil", "http://ui.example.org", "null", UI + ":444"])
    async def test_others_are_not(self, start_api: StartApi, origin: str) -> None:
        api = await start_api(cors_origins=UI)
        answer = await api.client.post("/jobs", json={"type": "echo"}, headers={"origin": origin})
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-origin" not in (await api.client.get("/jobs", headers={"origin": origin})).headers

    async def test_a_named_origin_does_not_name_a_host(self, start_api: StartApi) -> None:
        api = await start_api(cors_origins=UI)
        answer = await api.client.get("/jobs", headers={"origin": UI, "host": "ui.example.org"})
        assert answer.status_code == 421


class TestProxies:
    async def test_the_address_in_jobs_and_logs(self, start_api: StartApi, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "ci_server.requests")
        api = await start_api(trusted_proxies="127.0.0.1", auth="insecure")
        body = {"image": "x", "command": "true"}
        made = await api.client.post("/jobs", json=body, headers={"x-forwarded-for": "192.0.2.7"})
        assert made.status_code == 202
        job = await api.controller.storage.jobs.get(made.json()["job_id"])
        assert job.client is not None
        assert job.client.address == "192.0.2.7"
        assert "POST /jobs 202" in caplog.text
        assert "from=192.0.2.7" in caplog.text

    async def test_others_are_not_believed(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "ci_server.requests")
        said = {"x-forwarded-for": "192.0.2.7", "x-forwarded-host": "evil.example"}
        assert (await api.client.get("/jobs", headers=said)).status_code == 200
        assert "from=127.0.0.1" in caplog.text

    async def test_someone_behind_a_proxy_is_not_of_this_machine(self, start_api: StartApi) -> None:
        api = await start_api(trusted_proxies="127.0.0.1")
        assert (await api.client.get("/jobs")).status_code == 200
        assert (await api.client.get("/jobs", headers={"x-forwarded-for": "127.0.0.1"})).status_code == 200
        for headers in ({"x-forwarded-for": "192.0.2.7"}, {"forwarded": "for=unknown"}, {"forwarded": "??"}):
            answer = await api.client.get("/jobs", headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (401, "key_missing")

    async def test_the_host_that_the_client_used(self, start_api: StartApi) -> None:
        api = await start_api(trusted_proxies="127.0.0.1", auth="insecure", allowed_hosts="ci.example.org")
        said = {"x-forwarded-for": "192.0.2.7", "x-forwarded-host": "ci.example.org", "x-forwarded-proto": "https"}
        schema = await api.client.get("/schema/spec.json", headers=said)
        assert schema.json()["$id"] == "https://ci.example.org/schema/spec.json"
        own = said | {"origin": "https://ci.example.org"}
        assert (await api.client.post("/jobs", json={"type": "echo"}, headers=own)).status_code == 202
        other = said | {"x-forwarded-host": "evil.example"}
        assert (await api.client.get("/jobs", headers=other)).status_code == 421
