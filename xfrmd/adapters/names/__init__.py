# SPDX-License-Identifier: GPL-2.0-or-later
"""DNS names of a policy: which addresses they have, asked again as their TTL ends. `table` decides, without sockets."""
