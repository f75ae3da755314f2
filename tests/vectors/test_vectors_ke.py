# SPDX-License-Identifier: GPL-2.0-or-later
"""Key exchange: published pairs for the curves, plain pow() as the second opinion for the MODP groups."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from xfrmd.transforms import ke
from xfrmd.transforms.exchange import key_exchange_new
from xfrmd.transforms.modp import GROUPS, prime

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def exactly(octets: bytes) -> Callable[[int], bytes]:
    """Entropy that is asked once, for just as much."""

    def give(count: int) -> bytes:
        assert count == len(octets)
        return octets

    return give


def stretched(seed: str) -> Callable[[int], bytes]:
    return lambda count: hashlib.shake_256(seed.encode()).digest(count)


class Side(NamedTuple):
    """Private and public value as hex."""

    private: str
    public: str


class Pair(NamedTuple):
    source: str
    one: Side
    other: Side
    shared: str


PAIRS = {
    "X25519": Pair(
        "RFC 7748 6.1",
        Side(
            "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a",
            "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a",
        ),
        Side(
            "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb",
            "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f",
        ),
        "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742",
    ),
    "ECP256": Pair(
        "RFC 5903 8.1",
        Side(
            "c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433",
            "dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
            "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3",
        ),
        Side(
            "c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53",
            "d12dfb5289c8d4f81208b70270398c342296970a0bccb74c736fc7554494bf63"
            "56fbf3ca366cc23e8157854c13c58d6aac23f046ada30f8353e74f33039872ab",
        ),
        "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de",
    ),
    "ECP384": Pair(
        "RFC 5903 8.2",
        Side(
            "099f3c7034d4a2c699884d73a375a67f7624ef7c6b3c0f160647b67414dce655e35b538041e649ee3faef896783ab194",
            "667842d7d180ac2cde6f74f37551f55755c7645c20ef73e31634fe72b4c55ee6de3ac808acb4bdb4c88732aee95f41aa"
            "9482ed1fc0eeb9cafc4984625ccfc23f65032149e0e144ada024181535a0f38eeb9fcff3c2c947dae69b4c634573a81c",
        ),
        Side(
            "41cb0779b4bdb85d47846725fbec3c9430fab46cc8dc5060855cc9bda0aa2942e0308312916b8ed2960e4bd55a7448fc",
            "e558dbef53eecde3d3fccfc1aea08a89a987475d12fd950d83cfa41732bc509d0d1ac43a0336def96fda41d0774a3571"
            "dcfbec7aacf3196472169e838430367f66eebe3c6e70c416dd5f0c68759dd1fff83fa40142209dff5eaad96db9e6386c",
        ),
        "11187331c279962d93d604243fd592cb9d0a926f422e47187521287e7156c5c4d603135569b9e9d09cf5d4a270f59746",
    ),
    "X448": Pair(
        "RFC 7748 6.2",
        Side(
            "9a8f4925d1519f5775cf46b04b5800d4ee9ee8bae8bc5565d498c28d"
            "d9c9baf574a9419744897391006382a6f127ab1d9ac2d8c0a598726b",
            "9b08f7cc31b7e3e67d22d5aea121074a273bd2b83de09c63faa73d2c"
            "22c5d9bbc836647241d953d40c5b12da88120d53177f80e532c41fa0",
        ),
        Side(
            "1c306a7ac2a0e2e0990b294470cba339e6453772b075811d8fad0d1d"
            "6927c120bb5ee8972b0d3e21374c9c921b09d1b0366f10b65173992d",
            "3eb7a829b0cd20f5bcfc0b599b6feccf6da4627107bdb0d4f345b430"
            "27d8b972fc3e34fb4232a13ca706dcb57aec3dae07bdc1c67bf33609",
        ),
        "07fff4181ac6cc95ec1c16a94a0f74d12da232ce40a77552281d282b"
        "b60c0b56fd2464c335543936521c24403085d59a449a5037514a879d",
    ),
    "ECP521": Pair(
        "RFC 5903 8.3",
        Side(
            "0037ade9319a89f4dabdb3ef411aaccca5123c61acab57b5393dce47608172a095"
            "aa85a30fe1c2952c6771d937ba9777f5957b2639bab072462f68c27a57382d4a52",
            "0015417e84dbf28c0ad3c278713349dc7df153c897a1891bd98bab4357c9ecbee1"
            "e3bf42e00b8e380aeae57c2d107564941885942af5a7f4601723c4195d176ced3e"
            "017cae20b6641d2eeb695786d8c946146239d099e18e1d5a514c739d7cb4a10ad8"
            "a788015ac405d7799dc75e7b7d5b6cf2261a6a7f1507438bf01beb6ca3926f9582",
        ),
        Side(
            "0145ba99a847af43793fdd0e872e7cdfa16be30fdc780f97bccc3f078380201e9c"
            "677d600b343757a3bdbf2a3163e4c2f869cca7458aa4a4effc311f5cb151685eb9",
            "00d0b3975ac4b799f5bea16d5e13e9af971d5e9b984c9f39728b5e5739735a219b"
            "97c356436adc6e95bb0352f6be64a6c2912d4ef2d0433ced2b6171640012d9460f"
            "015c68226383956e3bd066e797b623c27ce0eac2f551a10c2c724d9852077b8722"
            "0b6536c5c408a1d2aebb8e86d678ae49cb57091f4732296579ab44fcd17f0fc56a",
        ),
        "01144c7d79ae6956bc8edb8e7c787c4521cb086fa64407f97894e5e6b2d79b04d1"
        "427e73ca4baa240a34786859810c06b3c715a3a8cc3151f2bee417996d19f3ddea",
    ),
    "BRAINPOOL256": Pair(
        "RFC 7027 A.1",
        Side(
            "81db1ee100150ff2ea338d708271be38300cb54241d79950f77b063039804f1d",
            "44106e913f92bc02a1705d9953a8414db95e1aaa49e81d9e85f929a8e3100be5"
            "8ab4846f11caccb73ce49cbdd120f5a900a69fd32c272223f789ef10eb089bdc",
        ),
        Side(
            "55e40bc41e37e3e2ad25c3c6654511ffa8474a91a0032087593852d3e7d76bd3",
            "8d2d688c6cf93e1160ad04cc4429117dc2c41825e1e9fca0addd34e6f1b39f7b"
            "990c57520812be512641e47034832106bc7d3e8dd0e4c7f1136d7006547cec6a",
        ),
        "89afc39d41d3b327814b80940b042590f96556ec91e6ae7939bce31f3a18bf2b",
    ),
    "BRAINPOOL384": Pair(
        "RFC 7027 A.2",
        Side(
            "1e20f5e048a5886f1f157c74e91bde2b98c8b52d58e5003d57053fc4b0bd65d6f15eb5d1ee1610df870795143627d042",
            "68b665dd91c195800650cdd363c625f4e742e8134667b767b1b476793588f885ab698c852d4a6e77a252d6380fcaf068"
            "55bc91a39c9ec01dee36017b7d673a931236d2f1f5c83942d049e3fa20607493e0d038ff2fd30c2ab67d15c85f7faa59",
        ),
        Side(
            "032640bc6003c59260f7250c3db58ce647f98e1260acce4acda3dd869f74e01f8ba5e0324309db6a9831497abac96670",
            "4d44326f269a597a5b58bba565da5556ed7fd9a8a9eb76c25f46db69d19dc8ce6ad18e404b15738b2086df37e71d1eb4"
            "62d692136de56cbe93bf5fa3188ef58bc8a3a0ec6c1e151a21038a42e9185329b5b275903d192f8d4e1f32fe9cc78c48",
        ),
        "0bd9d3a7ea0b3d519d09d8e48d0785fb744a6b355e6304bc51c229fbbce239bbadf6403715c35d4fb2a5444f575d4f42",
    ),
    "BRAINPOOL512": Pair(
        "RFC 7027 A.3",
        Side(
            "16302ff0dbbb5a8d733dab7141c1b45acbc8715939677f6a56850a38bd87bd59"
            "b09e80279609ff333eb9d4c061231fb26f92eeb04982a5f1d1764cad57665422",
            "0a420517e406aac0acdce90fcd71487718d3b953efd7fbec5f7f27e28c614999"
            "9397e91e029e06457db2d3e640668b392c2a7e737a7f0bf04436d11640fd09fd"
            "72e6882e8db28aad36237cd25d580db23783961c8dc52dfa2ec138ad472a0fce"
            "f3887cf62b623b2a87de5c588301ea3e5fc269b373b60724f5e82a6ad147fde7",
        ),
        Side(
            "230e18e1bcc88a362fa54e4ea3902009292f7f8033624fd471b5d8ace49d12cf"
            "abbc19963dab8e2f1eba00bffb29e4d72d13f2224562f405cb80503666b25429",
            "9d45f66de5d67e2e6db6e93a59ce0bb48106097ff78a081de781cdb31fce8ccb"
            "aaea8dd4320c4119f1e9cd437a2eab3731fa9668ab268d871deda55a5473199f"
            "2fdc313095bcdd5fb3a91636f07a959c8e86b5636a1e930e8396049cb481961d"
            "365cc11453a06c719835475b12cb52fc3c383bce35e27ef194512b71876285fa",
        ),
        "a7927098655f1f9976fa50a9d566865dc530331846381c87256baf3226244b76"
        "d36403c024d7bbf0aa0803eaff405d3d24f11a9b5c0bef679fe1454b21c4cd1f",
    ),
}
# SHA-256 of the primes that RFC 2409 6.2 and RFC 3526 2 to 7 print, and the private exponent's size in octets.
PRIMES = {
    "MODP2048": ("d66436f79bbd6b2e38c0ffbd079be904d2641415e2e67140e09448be9a60890e", 29),
    "MODP3072": ("48cf8b092fbce4359d9871abf74f98e25b6163379eaa15cd9087e800c6d1c55c", 35),
    "MODP4096": ("4ee95187682bcb230ad26a95205f6920e84708f6251b3894329b09ec23919e33", 41),
    "MODP6144": ("d1bfe6d0925ce7e4da262b62861514a7755e35831e429f343e7b864848657efd", 47),
    "MODP8192": ("39ab4feab950a3128fb71accb9fc3965d857012e081998a85996e3ea8b3c3bcf", 50),
    "MODP1536": ("64fcc83ec403930bf18393dbc883ccaa1fbb08ac876f77f7aa99748ca945019b", 25),
    "MODP1024": ("3f35a3f5f6c4376a744acad409bb22f8d897f949d2311d885adaa890981b67a0", 22),
}
# Seeds whose public value, and whose secret shared with the seed "peer", begin with a zero octet.
LEADING_ZERO = {"MODP2048": (580, 778), "MODP3072": (251, 74), "MODP4096": (321, 41), "ECP256": (303, 96)}

CURVES = [row for row in ke.ROWS if row.kind is not ke.KeKind.MODP]
MODP = [row for row in ke.ROWS if row.kind is ke.KeKind.MODP]


def entropy_of(row: ke.KeRow, private: str) -> Callable[[int], bytes]:
    if row.kind is ke.KeKind.MONTGOMERY:
        return exactly(bytes.fromhex(private))
    # Scalars are the entropy reduced to 0 .. order - 2, plus one.
    return exactly((int(private, 16) - 1).to_bytes(row.shared_len + 8))


def test_every_row_has_its_answer() -> None:
    assert {row.name for row in ke.ROWS} == PAIRS.keys() | PRIMES.keys()


@pytest.mark.parametrize("row", CURVES, ids=lambda r: r.name)
def test_curves(row: ke.KeRow) -> None:
    pair = PAIRS[row.name]
    one = key_exchange_new(row.transform, entropy_of(row, pair.one.private))
    other = key_exchange_new(row.transform, entropy_of(row, pair.other.private))
    assert one.public.hex() == pair.one.public
    assert other.public.hex() == pair.other.public
    assert one.shared(other.public).hex() == pair.shared
    assert other.shared(one.public).hex() == pair.shared


@pytest.mark.parametrize("row", MODP, ids=lambda r: r.name)
def test_primes_are_those_of_the_rfcs(row: ke.KeRow) -> None:
    group = GROUPS[row.id]
    assert hashlib.sha256(prime(group).to_bytes(row.public_len)).hexdigest() == PRIMES[row.name][0]


@pytest.mark.parametrize("row", MODP, ids=lambda r: r.name)
def test_modp_is_what_pow_says(row: ke.KeRow) -> None:
    p, size = prime(GROUPS[row.id]), PRIMES[row.name][1]
    secrets = [bytes([fill]) * size for fill in (0x00, 0x5A, 0xFF)]
    exponents = [int.from_bytes(secret) | 1 << (8 * size - 1) for secret in secrets]
    for secret, exponent in zip(secrets, exponents, strict=True):
        ours = key_exchange_new(row.transform, exactly(secret))
        assert ours.public == pow(2, exponent, p).to_bytes(row.public_len)
        peer = pow(2, 3**99, p)
        assert ours.shared(peer.to_bytes(row.public_len)) == pow(peer, exponent, p).to_bytes(row.shared_len)


# rfc 7296: skeyseed ke-length
@pytest.mark.parametrize("row", [r for r in ke.ROWS if r.name in LEADING_ZERO], ids=lambda r: r.name)
def test_leading_zeros_are_kept(row: ke.KeRow) -> None:
    public, shared = LEADING_ZERO[row.name]
    peer = key_exchange_new(row.transform, stretched("peer"))
    value = key_exchange_new(row.transform, stretched(f"zero {public}")).public
    assert (value[0], len(value)) == (0, row.public_len)
    secret = key_exchange_new(row.transform, stretched(f"zero {shared}")).shared(peer.public)
    assert (secret[0], len(secret)) == (0, row.shared_len)


def test_scalars_of_a_curve_wrap_around_the_order() -> None:
    row = next(r for r in ke.ROWS if r.name == "ECP256")
    first = key_exchange_new(row.transform, exactly(bytes(40)))
    again = key_exchange_new(row.transform, exactly((P256_ORDER - 1).to_bytes(40)))
    assert first.public == again.public, "the scalar is never 0 and never the order"
