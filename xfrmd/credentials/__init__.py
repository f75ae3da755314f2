# SPDX-License-Identifier: GPL-2.0-or-later
"""Identities and secrets; with transforms the only door to `cryptography`."""
