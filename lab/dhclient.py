# SPDX-License-Identifier: GPL-2.0-or-later
"""ISC dhclient in a host of the lab: one lease on one interface, its file kept, the address added to the others."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from lab.netns import Host

MISSING = "" if shutil.which("dhclient") else "dhclient is not installed: apt-get install isc-dhcp-client"
"""Why it cannot run here; "" when it can."""
_CONFIG = "request subnet-mask, routers, netbios-name-servers;\nretry 1;\ntimeout 20;\n"
_SCRIPT = """\
#!/bin/sh
case "$reason" in
BOUND|RENEW|REBIND|REBOOT) ip addr replace "$new_ip_address/24" dev "$interface" ;;
RELEASE|EXPIRE|STOP|FAIL) ip addr del "$old_ip_address/24" dev "$interface" ;;
esac
exit 0
"""


@contextlib.contextmanager
def dhclient(host: Host, interface: str, leases: Path) -> Iterator[None]:
    """A lease for `interface`, written below the directory `leases`, for as long as the block lasts."""
    with TemporaryDirectory(prefix="dhclient-") as name:
        directory = Path(name)
        script, config = directory / "script", directory / "dhclient.conf"
        script.write_text(_SCRIPT)
        script.chmod(0o755)
        config.write_text(_CONFIG)
        files = ("-lf", leases / f"dhclient.{interface}.leases", "-pf", directory / "pid", "-cf", config, "-sf", script)
        host.run("dhclient", "-4", "-1", *files, interface)
        try:
            yield
        finally:
            host.run("dhclient", "-4", "-x", *files, interface, check=False)
