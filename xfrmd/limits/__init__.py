# SPDX-License-Identifier: GPL-2.0-or-later
"""Every bound and interval in one place, each with its reason. Times in seconds, sizes in octets unless named."""

from __future__ import annotations

from typing import Final

# Kernel ownership: what lies outside these is never touched.
NFT_TABLE: Final = "xfrmd"
"""Our one table, family inet."""
PRIORITY_FIRST: Final = 0x4000_0000
PRIORITY_LAST: Final = 0xBFFF_FFFF
"""XFRM priorities of ours. Other daemons use values below 0x0100_0000: theirs are asked first, and `status` says so."""
REQID_FIRST: Final = 0x5846_0000
REQID_LAST: Final = 0x5846_FFFF
"""reqids of ours ("XF"): one per filter, 65,536 of them."""
HOLD_QUEUE: Final = 22358
"""nfqueue number that holds packets which wait for a negotiation."""
HOLD_MARK: Final = 0x5846_5244
"""fwmark ("XFRD") that a released packet carries for one rule of ours, which sets it back to 0: the change makes the
kernel route the packet again, now with its SA. No packet leaves the host with it."""
BOUND_MARK: Final = 0x5846_5341
"""fwmark ("XFSA") of what is bound for an SA, between the chains before and behind source NAT, where it had none."""
BOUND_PRIORITY: Final = 0x5846_5341
"""Packet priority for the same where it had a fwmark."""

# Netlink.
NETLINK_TIMEOUT: Final = 5.0
"""The kernel answers within milliseconds; a longer silence is a lost answer."""
NETLINK_BATCH: Final = 64
"""Requests in one send: under a millisecond of the event loop, as the kernel works while the caller waits."""
NETLINK_BULK: Final = 512
"""The same where no event loop waits: 160,000 policies a second instead of 100,000."""
NETLINK_EVENTS_BUFFER: Final = 4 * 1024 * 1024
"""Receive buffer for events: a few thousand ACQUIREs while the loop is busy."""
NFT_MESSAGE: Final = 60_000
"""Elements in one message: the length of an attribute is a number of 16 bits."""
NFT_BATCH: Final = 1024 * 1024
"""Octets sent at once when a new map is filled: the kernel keeps an account of each element until the batch ends."""
NFT_SEND_BUFFER: Final = 128 * 1024 * 1024
"""One change of the elements of all maps must fit into one batch: six times that of 200,000 elements. No memory is
taken for it before it is used."""
CHANGE_LAST: Final = 4096
"""Elements or SPD entries up to which a change is carried out and proved one by one. From there on it is cheaper to
look at everything."""
APPLY_TRIES: Final = 4
"""Times that the kernel is looked at anew, when others change nftables between our look and our step."""
KERNEL_AGAIN: Final = 1.0
"""Seconds until what the kernel did not do is tried again: most likely it had no memory for a moment."""
SHUT_TRIES: Final = 2
"""Tries to block at once what a table that was taken away kept from passing alone; then putting it back is quicker."""
VERDICTS_AGAIN: Final = 0.05
"""The same for packets that wait for their verdict."""
FACTS_AGAIN: Final = 60.0
"""The same for a policy that is to follow changed facts: that pause doubles up to this one."""
MEND_PAUSE: Final = (0.05, 0.5)
"""Between putting back what others have changed and doing it again: the first of a quiet time at once, then twice as
late each time, up to the second."""
MEND_SHARE: Final = 4.0
"""That pause is this many times as long as putting back took, so that a fifth of the time goes into it at most."""
MEND_QUIET: Final = 10.0
"""Without a change by others for so long, the next one is put back at once again."""
MEND_IN_VAIN: Final = 6
"""Where the kernel still differs after it was put right, that second pause doubles up to so many times: half a minute
between tries that do not help, be it for a fault of ours."""
MEND_TOLD_EVERY: Final = 60.0
"""What others change is told once in this time, so that who does it every second fills no journal."""
MENDS_TOLD: Final = 100
"""Changes by others within that time that are counted."""
HASH_FROM: Final = 128
"""SPD entries from which on the kernel's hash thresholds are fitted to them."""
HASH_BUCKET: Final = 16
"""SPD entries that may share one hash value: they are a list in the kernel."""

POLICIES_REMEMBERED: Final = 400_000
"""XFRM policies written lately that a dump is recognised by: 100,000 negotiate filters, some 200 MB at the most."""

# Facts of the host.
FACTS_SETTLE: Final = 0.2
"""News of the network are told this long after the first: an interface that comes up brings a dozen of them."""
FACTS_INTERVAL: Final = 0.5
"""Where the kernel gives no inotify, changed files (resolv.conf, hosts, leases) are noticed within that time: with
FACTS_SETTLE well within a second."""
FACTS_RECHECK: Final = 30.0
"""Files are looked at so often even while inotify is silent: mounts and other hosts' writes do not show in it."""
FACTS_FILE_SIZE: Final = 256 * 1024
"""Of one resolv.conf, hosts or lease file. Of longer lease files the end is read, where the last leases stand."""
FACTS_FILES: Final = 256
"""Lease files looked at in one directory: one per interface, and hosts with more DHCP clients are not known."""
NAME_SERVERS: Final = 16
LEASE_WINS_SERVERS: Final = 16
"""Addresses that option 44 of one lease may name; an option has room for 63."""

# DNS names of a policy.
HOSTS_FILE_SIZE: Final = 4 * 1024 * 1024
"""Of /etc/hosts: lists of advertisers to block have some 100,000 lines."""
NAMES: Final = 1024
"""Different DNS names in one policy: each is asked for again all the time."""
NAME_ADDRESSES: Final = 64
"""Addresses of one name and IP version; each becomes filters. More count as a failure, never as a part of them."""
NAME_TRY: Final = 2.0
"""For one name server to answer one query; then the next is asked, or the same again."""
NAME_LIFETIME: Final = 5.0
"""For all tries together; then the last answer is kept and the question is asked again later."""
NAME_DEADLINE: Final = 8.0
"""For a question, whatever becomes of it inside: longer than its tries."""
NAME_LOOKUPS: Final = 32
"""Names asked for at once."""
NAME_PACE: Final = 0.02
"""A name is asked for again after as many times this as there are names, whatever its TTL: 1024 names whose TTL is 0
would else take a third of the daemon's time. 250 names still follow the shortest TTL."""
NAME_TTL: Final = (5.0, 3600.0)
"""TTLs are taken as at least and at most that: a TTL of 0 is no reason to ask all the time, one of a week none to
believe a mistake for a week."""
NAME_NEGATIVE_TTL: Final = (5.0, 60.0)
"""Likewise for "no such name" and "no address": a new name works within a minute (RFC 2308 5 allows hours)."""
NAME_RETRY: Final = (1.0, 60.0)
"""After a failure a name is asked for again after the first, then twice as late each time, up to the second."""
NAME_JITTER: Final = 0.25
"""After a failure, up to this part later, at random: hosts that lost a server do not come back in one moment."""
NAME_STALE: Final = 30.0
"""Where unresolved names block, a last answer stays that long after the first failure: a name server starts anew."""
NAMES_WAIT: Final = 3.0
"""A policy is compiled with what is known of its names at the latest this long after it was given."""
NAMES_SAVE: Final = 1.0
"""Between a new answer and its way into the file that survives a restart."""
NAMES_FILE_SIZE: Final = 4 * 1024 * 1024
"""1024 names of 128 addresses each, of which no real policy comes near."""

# The policy file.
POLICY_FILE_SIZE: Final = 64 * 1024 * 1024
"""A policy of 100,000 filters takes 12 MB; five times that is a mistake or an attack."""
STORE_FILE_SIZE: Final = 4 * POLICY_FILE_SIZE
"""A kept policy: its text in JSON, where no character of one octet becomes more than two in practice."""
PROBLEMS_TOLD: Final = 1000
"""Errors, and as many warnings, that are told of one policy; the rest are counted. A program that writes policies makes
its one mistake a hundred thousand times."""
POLICY_DEPTH: Final = 16
"""Nesting of YAML nodes; the language itself needs 8."""

AUTH_METHODS: Final = 16
"""Authentication methods of one rule: peers are asked for one after the other."""
PORT_RANGES: Final = 1024
"""Entries of one list of ports: each is a filter of its own for the kernel."""
SPECIFIC_FILTERS: Final = 1_000_000
"""Filters that a policy may become on a host, port ranges as the kernel has them: ten for each of 100,000. They take
some 2 GB; lists and rules multiply, so that a file of a few lines could make more than any memory holds."""
OVERLAPS: Final = 500_000
"""Pairs of equally specific filters of one direction that overlap: some ten seconds of cutting. A list of 100,000 that
stands in two rules has 400,000 on a host of four addresses; a few hundred ranges that all overlap have more."""
FILTER_PRODUCT: Final = 65_536
"""Filters that one entry with lists may stand for: some thousand addresses, or some hundred at each end."""

INCLUDE_DEPTH: Final = 8
"""Files that include one another: a fleet has a host's file, its site's, its company's."""
INCLUDE_FILES: Final = 256
"""Files of one policy. Together they are no larger than one file may be."""
VARIABLES_GIVEN: Final = 4096
"""Values that one request gives for variables: a host has some dozens."""
VARIABLE_DEPTH: Final = 16
"""Variables that stand for one another."""
VARIABLE_TEXT: Final = 4096
"""Characters of one value: no text of a policy is longer than a quarter of it."""
VARIABLE_ITEMS: Final = 1_000_000
"""Values that lists of variables may make: ten times what a large policy has filters. Lists of lists could make more
than any memory holds."""
# Scripts of netsh.
NETSH_LINES: Final = 1_000_000
"""A filter takes one line; ten times the largest policy."""
NETSH_LINE: Final = 8_191
"""Characters of one line: what cmd takes at most."""
NETSH_ERRORS: Final = 500
"""Errors after which a script is not read on: fewer than are told, and each may cost a look through many names."""
NETSH_COMPARISONS: Final = 10_000_000
"""Filters looked at for all `delete filter` of a script, a few seconds of work; an honest script deletes few."""
NETSH_EXPANSION: Final = 256
"""Filters of a netsh script that one filter of ours may become: lists and short ranges of ports, not 1024-65535."""

# Credentials.
SECRET_SIZE: Final = 4096
"""A pre-shared key has some tens of octets, an RSA key of 4096 bits in PEM 3.3 KB; more is another kind of file."""
CERTIFICATE_FILE: Final = 64 * 1024
"""Of a file of certificates: CERTIFICATES of them in PEM, with the text that openssl may put before each."""
CERTIFICATE_SIZE: Final = 8 * 1024
"""Of one certificate: an RSA key of 8192 bits and its signature take 2 KiB, a long list of names as much again."""
CERTIFICATES: Final = 8
"""Certificates of one peer that are looked at: one of its own, and those of authorities up to the one we trust."""
CERTIFICATES_SENT: Final = 12 * 1024
"""Of our own certificates together: with the rest of a message they must fit into what a peer reads at once."""
CERTIFICATE_PATH: Final = 6
"""Certificates on one path below the trusted authority; real ones have two or three."""
CERTIFICATE_CHECKS: Final = 24
"""Signatures verified for one peer: authorities of one name that signed one another have more paths than anybody has
time for."""
NAME_COMPARISONS: Final = 4096
"""Of names with the constraints of one authority (RFC 5280 4.2.1.10): four names under a thousand constraints take some
milliseconds, and as many of both as certificates have room for would take half a second."""
CERTIFICATE_ENDS: Final = 30
"""Days before a certificate expires that the operator is told of it."""
CRL_FILE: Final = 2 * 1024 * 1024
"""Of a file of revocation lists: some forty thousand revoked certificates in PEM, read in a third of a second."""
CRLS: Final = 16
"""Revocation lists in one file: of each authority between ours and its hosts there is one."""
CRLS_KNOWN: Final = 128
"""Revocation lists that are kept ready for use, and results of verifying them: those of files and fetched ones."""
RSA_BITS: Final = (2048, 8192)
"""RSA keys below can be broken; those above cost a stranger nothing and us much time."""

# IKE on the wire.
FRAGMENTS: Final = 64
"""Of one message (RFC 7383): 16 KiB in pieces of 256 octets, smaller than any link makes them."""
FRAGMENT_SIZE: Final = 1228
"""Of an IKE message: an IPv6 packet of 1280 octets, which every path carries, less IPv6, UDP and the non-ESP marker."""
FRAGMENT_LEAST: Final = 544
"""Of an IKE message over IPv4 that has been repeated in vain: a packet of 576 octets, less IPv4, UDP and the marker."""
CUT_AFTER: Final = (3, 5)
"""After so many times a message that was sent in vain is cut anew, smaller each time (RFC 7383 2.5.2): after 1.4 s the
packets of IPv6's least size are tried, after 6 s those of 576 octets."""
DATAGRAM_SIZE: Final = 16 * 1024
"""RFC 7296 2 wants 1280 accepted and 3000 supported; certificate chains and ML-KEM need more, nobody needs 16 KiB."""
RECEIVE_BUFFER: Final = 4 * 1024 * 1024
"""Of each IKE socket: two thousand peers that reconnect at once find room while one handshake is computed."""
LINK_LOCAL_PEERS: Final = 256
"""Link-local peers whose interface is remembered."""
PAYLOADS: Final = 64
"""Payloads in one message, and of one kind inside another (proposals, transforms, traffic selectors)."""
OFFERS: Final = 256
"""Offers of peers that are remembered as they were read, and what was chosen of them: many come with the same one."""
OFFER_SIZE: Final = 1200
"""Octets of the largest that is remembered."""
VENDOR_VERSION: Final = 24
"""Octets of a peer's version that are shown; nobody's is longer."""
SELECTORS_TOLD: Final = 8
"""Of each side, in a notice about traffic without a common part and in what a peer is told: more nobody reads."""
DELETED_SPIS: Final = 1024
"""SPIs in one Delete payload: more child SAs than any peer has under one IKE SA."""
SELECTORS: Final = 256
"""Selectors that the traffic selectors of one SA may fall into: two odd IPv6 ranges could make 64,516 of one pair."""
NONCE_SIZES: Final = (16, 256)
"""RFC 7296 3.9."""

# Exchanges.
RETRANSMIT_FIRST: Final = 0.5
RETRANSMIT_FACTOR: Final = 1.8
RETRANSMIT_TRIES: Final = 8
"""0.5 s growing by 1.8: gives up after about 68 s, "several minutes at most" (RFC 7296 2.4), fast on a lossy LAN."""
RENEWALS_AT_ONCE: Final = 256
"""Rekeys that are outstanding at once; the others wait for their turn."""
RENEWAL_PATIENCE: Final = 3
"""Sent so often in vain, for three seconds, others have the turn of one whose peer does not answer."""
LIVENESS_IDLE: Final = 30.0
"""Silence from a peer, with traffic of ours towards it, after which we ask whether it is alive (RFC 7296 2.4)."""
NAT_KEEPALIVE: Final = 20.0
"""Silence of ours after which a NAT in front of us is reminded of its mapping (RFC 3948 4)."""
HOMELESS: Final = 60.0
"""An IKE SA whose local address is gone waits so long for another one, about as long as a request is repeated."""
LIVENESS_TOKEN: Final = 10.0
"""The same for a peer that has given a token: if it has crashed, the first question gets that answer (RFC 6290)."""
TOKEN_SIZES: Final = (16, 256)
"""RFC 6290 4.1."""
TOKENS: Final = 4
"""Tokens looked at in one message: of a secret and of the one before it, with room for a peer that keeps more."""
TICKET_LIFETIME: Final = 28_800.0
"""Seconds that a ticket is good for (RFC 5723), and that a key of ours seals them: as long as IKE SAs last by default.
"""
SETTLE_INTERVAL: Final = 60.0
"""Seconds after which the objects of SAs and policies that live are looked at no more by Python's collector: the young
ones of a minute are looked at in some milliseconds.
"""
TICKET_KEY_LOOK: Final = 600.0
"""Seconds between two looks at the age of the key that seals tickets."""
TICKET_TRUST: Final = 86_400.0
"""Seconds after a real proof of identity in which tickets count: a chain of resumptions is not longer."""
TICKET_LEAST: Final = 60.0
"""Seconds below which nobody is given a ticket: it would hardly outlast the loss that it is for."""
TICKET_INTERVAL: Final = 60.0
"""Seconds between two tickets for one IKE SA: each makes us remember that the one before counts no more."""
TICKET_GIVEN: Final = 1_024
"""Octets of a ticket of ours, twice what certificates with short names make: the message that shows it is never sent in
fragments of IKE's own, and should fit into an IPv6 packet that every path carries.
"""
TICKET_SIZES: Final = (1, 8_192)
"""Octets of a ticket that we keep for a peer: others have whole certificates in theirs."""
TICKETS_HELD: Final = 4_096
"""Tickets that we keep, one for a peer."""
TICKETS_SPENT: Final = 65_536
"""Tickets of ours that are remembered as used: a day's worth of thousands of peers. With more, none is taken."""
RESUME_TRIES: Final = 4
"""Times that a ticket is shown to a silent peer, within 6 s, before IKE_SA_INIT is sent: a peer that is back and has
thousands to answer needs time, and whole handshakes would take it more.
"""
RESUME_AUTH_TRIES: Final = 6
"""Times that IKE_AUTH of a resumption is sent, within 21 s, before all begins anew: whoever has answered the ticket may
have been somebody else.
"""
RESUMED_REKEY: Final = 60.0
"""A resumed IKE SA gets a key exchange of its own so long after it began, or up to three times as late, at random: not
all peers of a host that was away at once.
"""
REDIRECTS: Final = 5
"""Redirects of one tunnel that are followed within REDIRECT_PERIOD (RFC 5685 6, MAX_REDIRECTS)."""
REDIRECT_PERIOD: Final = 300.0
"""RFC 5685 6, REDIRECT_LOOP_DETECT_PERIOD."""
REDIRECT_WAIT: Final = 5.0
"""After a redirect the policy is in force for the other gateway well before this; else the first one is asked again."""
REDIRECT_GATEWAYS: Final = 16
"""Gateways that one rule names for redirects."""
TOKEN_SECRET_AGE: Final = 30 * 86400.0
"""A start makes another secret for tokens after this long; the one before it still counts for as long at least."""
MAPPING_INTERVAL: Final = 1.0
"""Seconds between two changes of a peer's UDP port that are followed, and between the kernel's reports of one: a NAT
that changes it more often carries nothing, and a peer that plays tricks costs little.
"""
OLD_SA_LINGER: Final = 3.0
"""A replaced inbound SA stays this long for packets that are still under way."""
REPLAY_WINDOW: Final = 1024
"""Packets; 32, the old default, drops good packets on reordering multi-queue NICs."""
REKEY_JITTER: Final = 0.1
"""Soft lifetimes end up to this part earlier, at random, so that two ends rarely rekey at once."""
SOFT_SHARE: Final = 0.9
"""A soft lifetime is at most this part of the hard one."""
RETRY_AFTER_FAILURE: Final = 10.0
"""After a failed negotiation a peer is tried again at the earliest then, when traffic still asks for it."""
SOFT_WAIT: Final = 3.0
"""Silence to IKE after which traffic of a soft filter goes in the clear: Windows' 3 s, three transmissions of ours."""
SOFT_SAS: Final = 1024
"""Soft SAs at once; peers beyond them are held as if their filter were not soft. Each costs six policies to look up."""
DYNAMIC_FILTERS: Final = 4096
"""Filters of the default response rule at once: any peer that authenticates can ask for some."""
DYNAMIC_PER_PEER: Final = 64
"""Of these, between us and one peer: Windows asks for all traffic in one, and no peer is to have the room of all."""
DYNAMIC_IDLE: Final = 7200.0
"""A filter of the default response rule without a child SA stays this long: Windows' two hours."""
INIT_RESTARTS: Final = 5
"""Times an IKE_SA_INIT is sent anew because of COOKIE or INVALID_KE_PAYLOAD, which anyone can send."""
FOLLOWUP_WAIT: Final = 60.0
"""An additional key exchange of a rekey (RFC 9370) must come within this: longer than all retransmissions of one."""
FOLLOWUP_LINK: Final = 64
"""Octets of a link between such exchanges that we take from a peer; ours have 8."""
CLOSED_LINGER: Final = 10.0
"""A closed IKE SA still repeats its last response this long: enough for four retransmissions of the peer."""
REPLACED_LIFETIME: Final = 30.0
"""A rekeyed IKE SA waits this long for the peer to delete it, then we do."""
SUCCESSOR_WAIT: Final = 90.0
"""The new outbound SA of a rekey of the peer's is used at the latest then. A peer keeps its old inbound SA until we
have answered its deletion, so that waiting is safe, while one that has not got our answer repeats itself for 68 s."""
ADOPTED_REPEAT: Final = 0.1
"""After a restart what was outstanding is repeated then: sockets and kernel are set up before."""
PEER_READY: Final = 0.1
"""Packets that are held for a peer which asked for the SA itself leave so long after our answer: the peer must read it
and give its kernel the keys first, and nobody sends a lost packet again."""
BUSY_RETRY: Final = 1.0
"""After TEMPORARY_FAILURE (RFC 7296 2.25) we try again then, or up to twice as late, at random."""
REAUTH_MARGIN: Final = 600.0
"""So early before a proof ends, or up to twice, both ends authenticate anew: a renewed certificate has come by then."""
REAUTH_LEAST: Final = 10.0
"""Between two authentications of one peer, however soon a proof ends or a new one is asked for (RFC 4478)."""
REAUTH_PAUSE: Final = 60.0
"""At most between two attempts; and so long holds what a new policy takes for too old, so that there is no gap."""
REAUTH_TOLD: Final = 3600.0
"""With less left of its certificate an initiator is not told: only another certificate helps, and strongSwan begins
anew without pause when less than its over_time, 24 minutes by default, is left."""
EMPTY_IKE_SA: Final = 30.0
"""An IKE SA without child SAs beside another with the same peer is deleted after this time, whoever asked for it: the
peer may have given up on it, which nothing else would tell."""
PACKETS_SOFT, PACKETS_HARD = 3 * 2**30, 2**32 - 1
"""Of an SA without extended sequence numbers: it is rekeyed after the first, and has no number left after the second
(RFC 4303 3.3.3). At a million packets a second the first is 54 minutes, less than an hour's lifetime."""
MESSAGE_IDS_SOFT, MESSAGE_IDS_HARD = 2**32 - 2**20, 2**32 - 16
"""An IKE SA is rekeyed when one end has used so many message IDs, and deleted when so many: none comes twice, and there
are some left to delete it (RFC 7296 2.2)."""
CONTACT_WAIT: Final = 4.0
"""Who says by INITIAL_CONTACT to be a host that we have an IKE SA with, by another port of the NAT before it, has that
IKE SA ended if its peer has not answered until then: three repetitions of the question."""
SERVED: Final = 64
"""What traffic a peer has had is remembered up to so many selectors: it tells hosts behind one NAT apart, no more."""
CROSSING: Final = 30.0
"""Two equal child SAs, one made by each end within this time, are one too many."""
SIBLINGS: Final = 16
"""Child SAs that we ask for beside a wide one of the peer's, for heavier filters that take part of its traffic."""
WANT_TRIES: Final = 3
"""IKE SAs on which one demand is tried, when the peer ends them under it."""
NEGOTIATIONS: Final = 4096
"""Negotiations that traffic has asked for and that are not done."""
WAITING_PACKETS: Final = 64
"""Different packets remembered per negotiation, to see which of them its SA carries."""
CHILDREN_PER_IKE_SA: Final = 1024
"""Child SAs a peer may make under one IKE SA; then NO_ADDITIONAL_SAS (RFC 7296 1.3)."""
IKE_SAS_PER_PEER: Final = 1024
"""IKE SAs that one host has begun with us: by `qmpermm: 1` each of its child SAs has one. The oldest goes for more."""
IKE_SAS_PER_ADDRESS: Final = 16_384
"""IKE SAs that all hosts of one address have begun, as behind a NAT; one may pretend to be many. The oldest goes."""
CHILDREN_PER_PEER: Final = 2 * CHILDREN_PER_IKE_SA
"""Child SAs with one host under all its IKE SAs: all of one, and those of the next that takes over."""
LINEAGES: Final = 16
"""IKE SAs with one pair of addresses that are looked at for one to use; two at once are normal, more are rare."""
WHISPER_INTERVAL: Final = 60.0
"""What an unauthenticated peer causes to be told is told once per address in this time."""
REMIND_INTERVAL: Final = 86400.0
"""What is so whoever the peer is, as a certificate of ours that ends soon, is told once in this time."""
IKE_LIFETIME: Final = 28800
"""Of an IKE SA whose policy names none: Windows' default of 480 minutes. Nothing lives without a deadline."""
NEGOTIATION_LIFETIME: Final = 120.0
"""A handshake or deletion is given up then, however often cookies and other groups have restarted it."""
REPORTED_PEERS: Final = 256
"""Peers whose last failure is kept for `status`."""

# Holding packets that wait for an SA.
HELD_PACKETS: Final = 4096
HELD_PER_FLOW: Final = 64
HOLD_PACE: Final = 0.02
"""From the first released packet of a flow to its others: two ticks of a slow kernel, for a peer to file the flow."""
HELD_SECONDS: Final = 75.0
"""A little longer than the last retransmission: then the negotiation has failed and the packets are dropped."""

MANAGER_FRESH: Final = 10.0
"""Age in seconds of what systemd says of a stop, written down right before it: as long as it gives a stop."""
MANAGER_JOBS: Final = 256 * 1024
"""Octets of systemd's list of jobs: some hundred lines when a system goes down."""

# The control socket.
CONTROL_REQUEST: Final = POLICY_FILE_SIZE + 16 * 1024 * 1024
"""One request carries a whole policy file, with its line ends and quotes escaped."""
CONTROL_CLIENTS: Final = 64
SHOWN_AT_ONCE: Final = 64
"""SAs that are made into an answer, and entries of a list that are made into text, until others have their turn: a
millisecond or two.
"""
REKEYED_AT_ONCE: Final = 16
"""SAs for which a rekey is begun until others have their turn: some milliseconds."""
CONTROL_TIMEOUT: Final = 30.0
"""For the next octets of a request, and for a reader to take its answer."""
APPLY_TIMEOUT: Final = 600.0
"""A policy of 100,000 filters takes a minute on a slow machine."""
CONTROL_WAIT: Final = 300.0
"""The longest `--wait`."""
FILTERS_LISTED: Final = 1000
"""Filters with their counts in one answer: half a megabyte."""
FILTERS_SHOWN: Final = 20
"""Of these, as many as are listed when nobody says how many."""

# Notices.
NOTICE_INTERVAL: Final = 10.0
NOTICE_BURST: Final = 20
"""Notices of one code written in one interval; the rest are counted."""
NOTICE_CODES: Final = 1024
NOTICE_TEXT: Final = 4096
"""Characters of one message or field: both sides' offers fit, a hostile identity of 16 KiB does not."""

# What `status` remembers.
PEERS_REMEMBERED: Final = 4096
"""Peers with their last failure; the one heard of longest ago is forgotten."""
STRANGERS_REMEMBERED: Final = 1024
"""Of these, peers that never worked: made-up addresses must not drive out the real ones."""

# The start of the system.
BOOT_TABLE: Final = "xfrmd_boot"
"""Of family inet: what stands from the start of the system until a policy is in force."""
BOOT_EXEMPTIONS: Final = 1024
"""Each is two rules that every packet meets: as many as Windows takes."""

# What outlives the daemon.
STATE_SIZE: Final = 256 * 1024 * 1024
"""Of the state file: 50,000 IKE SAs of 4 KB each, with a quarter to spare."""
STATE_STALE: Final = 1024 * 1024
"""The state file is written anew when it is larger than four times what counts, and this: then that is seldom."""

DIRECTORY_RETRY: Final = 60.0
"""Between two looks at a directory: one that could not be used is asked again, as Windows does after its first failure,
and a policy that changed in it is noticed.
"""
BOOT_FILE: Final = 256 << 20
"""The largest saved boot filter that is looked at: a policy of a million filters of the kernel has half of it."""

# The daemon's life.
STOP_WAIT: Final = 2.0
"""For answers of peers to the DELETE of a stop: three tries on a LAN; who is gone is not waited for."""
SA_USE_INTERVAL: Final = (5.0, 15.0)
"""Between two looks at the counters of our SAs: a sixth of LIVENESS_IDLE while something leaves and nothing comes back,
else half of it. A peer that fell silent under traffic of ours is asked 30 to 50 seconds later."""
CGROUPS: Final = 10_000
"""Cgroups looked through for the unit that holds a port of ours."""
