# SPDX-License-Identifier: GPL-2.0-or-later
"""What DHCP clients of this host write about their leases. A file per client; `found` gathers and judges."""
