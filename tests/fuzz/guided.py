# SPDX-License-Identifier: GPL-2.0-or-later
"""`python -m tests.fuzz.guided [TARGET ...]`: fuzzing that follows coverage (atheris), each target in its own process.

What reaches new code is kept, a line of hex each, in guided/TARGET.hex, so that the next run begins where this one
ended. A target takes octets and may refuse them by the errors that its module promises; anything else is a fault: it is
told with the octets, and the exit status is that of the fuzzer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

CORPUS: Final = Path(__file__).parent / "guided"
KEPT: Final = 400
"""Inputs that are kept for a target, the shortest ones."""
LONGEST: Final = 2048
"""Octets of one."""
WHEN: Final = datetime(2030, 6, 1, tzinfo=UTC)

Check = Callable[[bytes], object]


def _clear() -> Check:
    from tests.fuzz.test_fuzz_codec import survives  # noqa: PLC0415 (imported under the fuzzer's eyes)

    return survives


def _content() -> Check:
    """What is inside the encryption: the type of the first payload, and the chain."""
    from tests.fuzz.test_fuzz_codec import HEADER, use  # noqa: PLC0415
    from xfrmd.errors import RemoteProtocolError  # noqa: PLC0415
    from xfrmd.ike.v2.message import sealed  # noqa: PLC0415

    def check(data: bytes) -> None:
        try:
            use(sealed(HEADER, data[0] if data else 0, data[1:], data))
        except RemoteProtocolError as error:
            assert 0 <= error.notify < 16384  # noqa: PT017 (the family is the assertion)

    return check


def _refusing(step: Check, *errors: type[Exception]) -> Check:
    def check(data: bytes) -> None:
        try:
            step(data)
        except errors:
            return

    return check


def _certificate() -> Check:
    from tests.fuzz.test_fuzz_certificates import use  # noqa: PLC0415
    from xfrmd.credentials.certificates import parse  # noqa: PLC0415
    from xfrmd.errors import CredentialError  # noqa: PLC0415

    return _refusing(lambda data: use(parse(data)), CredentialError)


def _crl() -> Check:
    from xfrmd.credentials.revocation import known  # noqa: PLC0415
    from xfrmd.errors import CredentialError  # noqa: PLC0415

    return _refusing(known, CredentialError)


def _ocsp() -> Check:
    from tests.unit.pki import issue, root  # noqa: PLC0415
    from xfrmd.credentials.ocsp import judge  # noqa: PLC0415
    from xfrmd.errors import CredentialError  # noqa: PLC0415

    authority = root()
    host = issue("b", by=authority, san=["b.example"])
    return _refusing(lambda data: judge(data, host.certificate, authority.certificate, WHEN), CredentialError)


def _kernel() -> Check:
    """Netlink messages: XFRM events and SAs, packets of the queue, acknowledgements."""
    from xfrmd.adapters import netlink, nfqueue  # noqa: PLC0415
    from xfrmd.adapters.xfrm import events, states  # noqa: PLC0415
    from xfrmd.errors import KernelError  # noqa: PLC0415

    def check(data: bytes) -> None:
        try:
            for message in netlink.messages(data):
                for step in (events.decode, nfqueue.parse, netlink.answer, lambda one: states.decode(one.body)):
                    try:
                        step(message)
                    except KernelError:
                        continue
        except KernelError:
            return

    return check


def _packet() -> Check:
    from xfrmd.adapters.packet_headers import read  # noqa: PLC0415

    return read


def _control() -> Check:
    """A request line of the control socket."""
    from xfrmd.control.schema import ControlError, checked  # noqa: PLC0415
    from xfrmd.daemon.server import _parsed  # noqa: PLC0415

    return _refusing(lambda line: checked(_parsed(line)), ControlError)


def _state() -> Check:
    """A record of the saved SAs."""
    from xfrmd.ike.saved import decode  # noqa: PLC0415

    return _refusing(lambda data: decode([data]), ValueError)


def _conversing(name: str) -> Check:
    from tests.fuzz import conversing  # noqa: PLC0415

    check: Check = getattr(conversing, name)().check
    return check


def _stored(name: str) -> Check:
    from tests.fuzz import stored  # noqa: PLC0415

    check: Check = getattr(stored, name)
    return check


def _file(name: str) -> Check:
    from tests.fuzz.stored import Files  # noqa: PLC0415

    check: Check = getattr(Files(), name)
    return check


TARGETS: Final[dict[str, Callable[[], Check]]] = {
    "clear": _clear,
    "content": _content,
    "certificate": _certificate,
    "crl": _crl,
    "ocsp": _ocsp,
    "kernel": _kernel,
    "packet": _packet,
    "control": _control,
    "state": _state,
    "ticket": partial(_conversing, "Ticket"),
    "resume": partial(_conversing, "Resume"),
    "moving": partial(_conversing, "Moving"),
    "redirect": partial(_conversing, "Redirected"),
    "answer": partial(_stored, "answer"),
    "package": partial(_stored, "package"),
    "policy": partial(_stored, "policy"),
    "revoked": partial(_file, "revoked"),
    "secrets": partial(_file, "secrets"),
    "saved": partial(_file, "saved"),
}


def kept(target: str) -> list[bytes]:
    """The corpus of a target."""
    path = CORPUS / f"{target}.hex"
    return [bytes.fromhex(line) for line in path.read_text().split()] if path.exists() else []


def keep(target: str, inputs: Iterable[bytes]) -> int:
    """Keep the shortest ones; how many."""
    chosen = sorted({one for one in inputs if 0 < len(one) <= LONGEST}, key=lambda one: (len(one), one))[:KEPT]
    CORPUS.mkdir(exist_ok=True)
    (CORPUS / f"{target}.hex").write_text("".join(f"{one.hex()}\n" for one in chosen))
    return len(chosen)


def fuzz(target: str, options: list[str]) -> None:
    """In a process of its own: it never returns."""
    import atheris  # noqa: PLC0415 (only whoever fuzzes needs it)

    with atheris.instrument_imports(include=["xfrmd"]):
        check = TARGETS[target]()
    atheris.Setup([sys.argv[0], *options], check)
    atheris.Fuzz()


def run(target: str, runs: int, seconds: int, *, save: bool) -> tuple[int, str]:
    """Exit status and last words. `runs` and `seconds`: whichever ends first, 0 is without end."""
    with TemporaryDirectory() as name:
        for number, one in enumerate(kept(target)):
            (Path(name) / f"kept{number}").write_bytes(one)
        limits = [f"-runs={runs or -1}", f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024"]
        job = json.dumps([target, [name, *limits, f"-max_len={LONGEST}", f"-artifact_prefix={name}/fault-"]])
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", "--job", job], capture_output=True, text=True, check=False
        )
        if done.returncode:
            faults = [path.read_bytes().hex() for path in Path(name).glob("fault-*")]
            return done.returncode, f"{(done.stdout + done.stderr)[-3000:]}\noctets: {faults}"
        if save:
            keep(target, (path.read_bytes() for path in Path(name).iterdir()))
        return 0, next((line for line in reversed(done.stderr.splitlines()) if line.startswith("Done")), "")


def main() -> int:
    """As the first lines say."""
    parser = argparse.ArgumentParser(prog="guided", description="Fuzzing that follows coverage.")
    parser.add_argument("target", nargs="*", choices=[[], *TARGETS], help="all by default")
    parser.add_argument("--runs", type=int, default=0, help="inputs for each (0: no bound)")
    parser.add_argument("--seconds", type=int, default=60, help="seconds for each (60; 0: no bound)")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        fuzz(*json.loads(options.job))
    worst = 0
    for target in options.target or TARGETS:
        status, words = run(target, options.runs, options.seconds, save=True)
        print(f"{target}: {words or 'nothing said'}; {len(kept(target))} inputs kept", flush=True)
        worst = worst or status
    return worst


if __name__ == "__main__":
    sys.exit(main())
