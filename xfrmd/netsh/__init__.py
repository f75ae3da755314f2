# SPDX-License-Identifier: GPL-2.0-or-later
"""Scripts of `netsh ipsec static`: read into policies of ours, and written from them."""
