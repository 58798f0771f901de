"""The server answers what the command line answers, and says what is wrong with a request in the same words."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from trained import cells, fmlab

from fmlab.errors import DataError, FmlabError
from fmlab.serving import load_run
from fmlab.serving.batching import Batcher, Overloaded
from fmlab.serving.engine import Engine, Limits
from fmlab.serving.request_limits import BodyReader, TooLarge, TooSlow
from fmlab.serving.server import listening

ITEM_ROWS = [{"user": "7", "item": "3"}, {"user": "never", "item": "5"}]


def nested(depth: int) -> Any:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def client(place: Path, **options: Any) -> Any:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from fmlab.serving.server import application

    return TestClient(application(load_run(place), Limits(rows=50, k=40, items=1500), **options))


def test_scores_are_those_of_predict(clicks: Path, room: Path) -> None:
    rows = [{k: v for k, v in row.items() if k != "clicked"} for row in cells(room / "clicks.csv")[:20]]
    rows[0] |= {"uid": "never"}
    import pandas as pd

    wanted = load_run(clicks).predict(pd.DataFrame(rows))
    with client(clicks) as ask:
        found = ask.post("/score", json={"rows": rows})
        assert found.status_code == 200
        assert found.json()["unseen"] == {"user": 1}
        for name in ("score", "probability"):
            assert [r[name] for r in found.json()["results"]] == pytest.approx(wanted[name].tolist(), abs=1e-6)
        typed = [
            row | {"price": float(row["price"]) if row["price"] else None, "visits": int(row["visits"])} for row in rows
        ]
        assert ask.post("/score", json={"rows": typed}).json()["results"] == found.json()["results"]


def test_lists_are_those_of_recommend_and_similar(two_sided: Path) -> None:
    run = load_run(two_sided)
    with client(two_sided) as ask:
        found = ask.post("/recommend", json={"users": ["7", "never", "7"], "k": 5}).json()["results"]
        wanted = run.recommend(["7"], k=5)
        for place in (0, 2):
            assert [i["item"] for i in found[place]["items"]] == wanted["item"].tolist()
            assert [i["score"] for i in found[place]["items"]] == pytest.approx(wanted["score"].tolist())
        assert [r["by_popularity"] for r in found] == [False, True, False]
        alike = ask.post("/similar", json={"items": ["3", "4"], "k": 2}).json()
        assert alike["measure"] == "cosine of item vectors"
        assert [i["item"] for i in alike["results"][1]["similar"]] == run.similar(["4"], k=2)["similar"].tolist()
        health = ask.get("/health").json()
        assert (health["status"], health["model"], health["columns"]) == ("ok", "fm", ["user", "item"])
        metrics = ask.get("/metrics").text
        assert 'fmlab_requests_total{kind="recommend",status="200"} 1' in metrics
        assert 'fmlab_request_seconds_bucket{kind="similar",le="+Inf"} 1' in metrics


@pytest.mark.parametrize(
    ("path", "request_", "said"),
    [
        ("/score", {"rows": [{"user": "1"}]}, "rows need the columns 'user', 'item'; the request has no 'item'"),
        ("/score", {"rows": []}, "rows must be a list of one or more objects"),
        ("/score", {"rows": [{"user": "1", "item": "2"}] * 51}, "a request has at most 50 rows, got 51"),
        (
            "/score",
            {"rows": [{"user": {"a": 1}, "item": "2"}]},
            "lists of them: an object is none of them, got {'a': 1}",
        ),
        ("/score", {"row": []}, "a request has no 'row'; did you mean 'rows'?"),
        ("/score", [1], "a request must be a JSON object"),
        ("/recommend", {"users": ["1"], "k": 0}, "a list has 1 or more items, got k=0"),
        ("/recommend", {"users": ["1"], "k": 41}, "a request asks for at most 40 items, got k=41"),
        ("/recommend", {"users": ["1"], "exclude": "some"}, "exclude must be one of none, train"),
        ("/recommend", {"k": 3}, "recommend takes either users"),
        ("/recommend", {"users": [True]}, "users must be a list of one or more ids, got [True]"),
        ("/recommend", {"users": ["1"] * 50, "k": 40}, "at most 1,500 items in all its lists, got 50 lists of 40"),
        ("/recommend", {"histories": [["1"]] * 50, "k": 40}, "at most 1,500 items in all its lists"),
        ("/recommend", {"users": ["1"], "context": {"user": "2"}}, "the model has no context column 'user'"),
        ("/recommend", {"histories": [["\ud800"]]}, "column 'item' must hold text of Unicode characters"),
        ("/score", {"rows": [{"user": "\ud800", "item": "2"}]}, "column 'user' must hold text of Unicode characters"),
        ("/score", {"rows": [{"user": ["a\udfff"], "item": "2"}]}, "got half of one: '\\udfff'"),
        ("/score", {"rows": [{"user": nested(900), "item": "2"}]}, "lists of them: too deep a list"),
        ("/similar", {"items": [10**4000]}, "items are compared that training knew, got '1000"),
        ("/similar", {"items": ["3"] * 50, "k": 40}, "at most 1,500 items in all its lists"),
        ("/similar", {"items": ["nowhere"]}, "items are compared that training knew, got 'nowhere'"),
        (
            "/similar",
            {"items": ["3"], "measure": "distance"},
            "a distance of items needs a model whose items are points",
        ),
    ],
)
def test_what_is_wrong_is_said(two_sided: Path, path: str, request_: Any, said: str) -> None:
    with client(two_sided) as ask:
        found = ask.post(path, content=json.dumps(request_))
        assert found.status_code == 400
        assert said in found.json()["error"]


def test_bodies_are_bounded_and_must_be_json(two_sided: Path) -> None:
    with client(two_sided, body=200) as ask:
        assert ask.post("/score", content=b"x" * 201).status_code == 413
        for body in (b"{", b'{"rows": NaN}', b"[" * 150, b"\xff"):
            found = ask.post("/score", content=body)
            assert found.status_code == 400
            assert "a request must be JSON" in found.json()["error"]
        assert "null stands for a missing value" in ask.post("/score", content=b'{"rows": NaN}').json()["error"]
        for found, status, got in (
            (ask.get("/score"), 405, "got GET /score"),
            (ask.get("/nothing"), 404, "got GET /nothing"),
            (ask.post("/predict", content=b"{}"), 404, "got POST /predict"),
        ):
            assert found.status_code == status
            assert found.json()["error"].startswith("requests are POST /score, POST /recommend")
            assert found.json()["error"].endswith(got)


def test_requests_that_come_together_are_answered_together_and_none_is_lost(two_sided: Path) -> None:
    run = load_run(two_sided)
    engine = Engine(run)

    async def together() -> tuple[list[Any], int]:
        batcher = Batcher(engine)
        asked = [
            batcher.ask("score", {"rows": [{"user": str(n % 60), "item": str(n % 40)}] * (1 + n % 3)})
            for n in range(150)
        ]
        asked.append(batcher.ask("score", {"rows": [{"user": "1"}]}))
        found = await asyncio.gather(*asked, return_exceptions=True)
        batcher.close()
        return found, batcher.batches

    found, batches = asyncio.run(together())
    assert batches < 10
    assert isinstance(found.pop(), DataError)
    for n, answer in enumerate(found):
        (alone,) = engine.score([{"rows": [{"user": str(n % 60), "item": str(n % 40)}] * (1 + n % 3)}])
        assert [r["score"] for r in answer["results"]] == pytest.approx(
            [r["score"] for r in alone["results"]], abs=1e-6
        )


def test_a_request_that_fails_fails_alone(clicks: Path, room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {"rows": [{k: v for k, v in cells(room / "clicks.csv")[0].items() if k != "clicked"}]}
    far = {"rows": [good["rows"][0] | {"price": "1e30"}]}
    engine = Engine(load_run(clicks))
    (alone,) = engine.score([good])
    first, second, third = engine.score([good, far, good])
    assert first == third == alone
    assert isinstance(second, FmlabError)
    assert "a number in the rows is too large for it" in str(second)
    (farther,) = engine.score([{"rows": [good["rows"][0] | {"price": "1e300"}]}])
    assert "column 'price' must hold numbers like those of training, got 1e+300" in str(farther)
    encoded = Engine._encoded
    monkeypatch.setattr(Engine, "_encoded", lambda self, given: 1 / 0 if given is far else encoded(self, given))
    first, second = engine.score([good, far])
    assert first == alone
    assert isinstance(second, ZeroDivisionError)


class Sent:
    """A request whose body comes in parts, each after a moment."""

    def __init__(self, *parts: bytes, after: float = 0) -> None:
        self.parts, self.after, self.read = parts, after, 0

    async def stream(self) -> Any:
        for part in self.parts:
            await asyncio.sleep(self.after)
            self.read += len(part)
            yield part


def test_bodies_that_are_not_answered_take_bounded_memory() -> None:
    async def asked() -> None:
        bodies = BodyReader(4, 7, 0.5)
        async with bodies.of(Sent(b"ab", b"cd")) as first:
            assert first == b"abcd"
            with pytest.raises(Overloaded):
                async with bodies.of(Sent(b"abcd")):
                    pass
            async with bodies.of(Sent(b"abc")) as second:
                assert second == b"abc"
        with pytest.raises(TooLarge):
            async with bodies.of(Sent(b"abc", b"de")):
                pass
        with pytest.raises(TooSlow):
            async with bodies.of(Sent(b"abc", after=60)):
                pass
        assert bodies.room == 7  # all of it was given back

    asyncio.run(asked())


def test_the_rest_of_a_refused_body_is_read_within_bounds_so_that_its_client_gets_the_answer() -> None:
    async def asked(held: int, sent: Sent, refused: type[Exception]) -> int:
        bodies = BodyReader(4, held, 0.5)
        with pytest.raises(refused):
            async with bodies.of(sent):
                pass
        assert bodies.room == held
        return sent.read

    assert asyncio.run(asked(1, Sent(*[b"a"] * 4), Overloaded)) == 4
    assert asyncio.run(asked(99, Sent(*[b"a"] * 9), TooLarge)) == 9
    assert asyncio.run(asked(99, Sent(*[b"a"] * 99), TooLarge)) == 5 + 4 * 4 + 1


def test_a_server_that_ends_answers_what_it_was_asked(two_sided: Path) -> None:
    pytest.importorskip("uvicorn")
    from fmlab.serving.server import application, server_of

    (held,) = listening("127.0.0.1", 0)
    held.listen(8)
    server = server_of(application(load_run(two_sided)))
    thread = threading.Thread(target=server.run, args=([held],))
    thread.start()
    body = b'{"users": ["7"], "k": 3}'
    with socket.create_connection(held.getsockname(), timeout=60) as half:
        half.sendall(b"POST /recommend HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body[:5])
        while not server.server_state.tasks:  # the request has begun
            assert thread.is_alive()
        server.should_exit = True
        half.sendall(body[5:])
        assert half.recv(100).startswith(b"HTTP/1.1 200")
    thread.join(60)
    assert not thread.is_alive()


def test_more_than_may_wait_are_refused(two_sided: Path) -> None:
    async def many() -> list[Any]:
        batcher = Batcher(Engine(load_run(two_sided)), waiting=2)
        found = await asyncio.gather(
            *(batcher.ask("recommend", {"users": ["1"]}) for _ in range(4)), return_exceptions=True
        )
        batcher.close()
        return list(found)

    assert sum(isinstance(f, Overloaded) for f in asyncio.run(many())) == 2


def test_the_command_refuses_before_it_listens(two_sided: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("uvicorn")
    assert fmlab("serve", two_sided, "--port", "70000") == 2
    assert "--port must be from 0 to 65535, got 70000" in capsys.readouterr().err
    assert fmlab("serve", two_sided, "--max-rows", "0") == 2
    assert fmlab("serve", two_sided / "nothing") == 74


def test_rows_without_items_are_scored_and_not_ranked(clicks: Path) -> None:
    engine = Engine(load_run(clicks), Limits())
    (answer,) = engine.recommend([{"users": ["7"]}])
    assert isinstance(answer, FmlabError)
    assert "the request has no" in str(answer)


def test_connections_send_at_once() -> None:
    """The head of an answer and its body are two pieces: the second must not wait for the client to acknowledge."""
    (listener,) = listening("127.0.0.1", 0)
    listener.listen(1)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.proto == socket.IPPROTO_TCP  # what asyncio looks at
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_refused() -> None:
    (held,) = listening("127.0.0.1", 0)
    held.listen(1)
    with held, pytest.raises(FmlabError, match=r"a server needs a free port of this machine, got 127\.0\.0\.1:\d+: "):
        listening("127.0.0.1", held.getsockname()[1])
