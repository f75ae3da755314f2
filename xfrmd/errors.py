# SPDX-License-Identifier: GPL-2.0-or-later
"""The five error families. The family says whose fault it is; the text says where, what and how to mend it.

| error | whose fault |
|---|---|
| PolicyError | the operator's: a policy, facts or command line that cannot be used |
| RemoteProtocolError | the peer's: octets that RFC 7296 does not allow |
| LocalProtocolError | ours: a state that must not occur |
| CredentialError | a secret or certificate is missing, unreadable or does not verify |
| KernelError | the kernel refused or lacks something |
"""

from __future__ import annotations


class XfrmdError(Exception):
    """Root of all errors that xfrmd raises on purpose."""


class PolicyError(XfrmdError):
    """Input of the operator that cannot be used."""


class RemoteProtocolError(XfrmdError):
    """A peer sent what the protocol does not allow. `notify` is the Notify Message Type to answer with, 0 for none."""

    def __init__(self, message: str, notify: int = 0, data: bytes = b"") -> None:
        super().__init__(message)
        self.notify = notify
        self.data = data


class LocalProtocolError(XfrmdError):
    """Our own code asked for something that the protocol or state does not allow."""


class CredentialError(XfrmdError):
    """A credential is missing, unreadable or does not verify."""


class KernelError(XfrmdError):
    """The kernel refused an operation. `errno` is its error number, 0 when it gave none."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno
