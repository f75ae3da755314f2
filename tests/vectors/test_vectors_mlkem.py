# SPDX-License-Identifier: GPL-2.0-or-later
"""ML-KEM: count 0 of the known answers of FIPS 203 (github.com/post-quantum-cryptography/KAT), with a ciphertext for no
key beside it (FIPS 203 6.3). kyber-py 1.2.0 computes the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import pytest

from xfrmd.errors import RemoteProtocolError
from xfrmd.transforms import ke
from xfrmd.transforms.exchange import key_exchange_answer, key_exchange_new
from xfrmd.transforms.kem import KemKey

SEED = bytes.fromhex(
    "6dbbc4375136df3b07f7c70e639e223e177e7fd53b161b3f4d57791794f12624"
    "f696484048ec21f96cf50a56d0759c448f3779752f0383d37449690694cf7a68"
)
"""d and z."""


class Answer(NamedTuple):
    """Of one parameter set, as hex."""

    public: str
    """SHA-256 of the encapsulation key."""
    shared: str
    rejected: str
    """The secret for the ciphertext with its first bit the other way."""
    ciphertext: str


ANSWERS = {
    "MLKEM768": Answer(
        "4bec4730f26273c6319ef7387dd4758315240a9394cd89264b148b9113060b61",
        "b408d5d115713f0a93047dbbea832e4340787686d59a9a2d106bd662ba0aa035",
        "4bca15723c66b72fe59c6adc053efdead00a5c7b9be4900832f68ecdcef670ac",
        "16a61ff84787fd4a5f19ca59b3657db3a106a7329e2d62747a2ef85149163109befff6bcb33df66230b8f6725ce719f58f71196e895b"
        "efc9754d9f042494648c88a6ed4c4cf13f2faf9f651de79dae077733cb235f9dce448977fd42d5486b7dfdf6d7bd9172b14247655d34"
        "f10524d469478d9a9639f34d2acde6e3c048d52b308b66245fe9a28cde7983b9d14c03b37715fe3970cd35734771add7aa9b58cfb0ad"
        "f8c613deafb2b31f6e5c8364d4334e93af8e4943fa947cc67667447cffd036235afaea7f603cb2ea277b97dadf82ea746f6b27396dd0"
        "8c85cff9304a2e5ce0571fde2e926716bc9f8e4d474b4e8fd34b0dc28376204ea306d30e9a6dd88250b79823e77319f2ef3a77704f40"
        "9dde8beb6db1be4a9f25ae2e15939dedf1b11a5aa51fcff04068b46d42fbbafd2498264cca4fb78b0f2ab162c7ef569875a13148b9a4"
        "b0b9da1787ca0a7033e3eca13471dbcbbe15e34f2b5065b995fe221c2b7ac150334d14e68edc5e049663de362fae8d35e24c202c5fad"
        "2153cd044ea962a388f030cdc5dec1c3423183b173c32b22f5800ae45e8e89c8ee4617ce24e60f278bfd1ea0f8fa92486b6f849127da"
        "99be7be4c661e2ba26669d6acf619a33056809683e24a2f29e33be7f5f9ac668697e59488e9b8685956cd87b7c47109d603202c20147"
        "2ec829ea64922e4d0eadd4a4b5a8fb06e0f4bf25a59ced54557388dcd91b387cb6148597edf84a22595801851ca4b9e9e096fdfc96f2"
        "444ac9f1247a5e640787fca23e3eb21ec1059c42a65803441df01279013c448dfc3eedfc3355eee1f510086a115f854c36db797a85ed"
        "e19a473a33e79a80f6f7f6467e1b0d866fe0e57a8abd379934a6a6a492f5f32594d43de2ec2eea81487981bb6394bfa6df5498d74c6d"
        "b2202a6348a325fbc906b8e820bb00659a2ee12740b14b2e36f4c5dab411c0cd096c5e63ba4d48aa9e92b31f44dc97c0fef661bcf4db"
        "895f174613d9d5ed9e836657745ec9deec7af273cec87ef0eaf805da1bc8401608810b8a86f952c6326d09fc8d1d7fd83b4e862e0505"
        "8e877c056cc5465ec3192b03a4c33cc6b16558d2482d5f84518cbbc526aae6e8840317efb3a1982c3d1719ef15d10f8b077c5c68680b"
        "e6d3d92e86aaa6eb378cf0559d493257147b55730f49a042325af066b4f9741b9fff5d47972d5acaf52b6bea4e9e354ef9448b62f6d2"
        "a1317675a922e14e31578d6cab5a09a71ab270d865151b8ab4c612b5fd5dcc97e45419a1cfb6b8b9aec60f62602098f91f07c2381866"
        "57941c7a18e4d7ee220f022d5fffd291853b9c063e561b7176f7a235ce45bc86ce4718086df9536c5a5f0abf04c0a84d82bdf69552ad"
        "e3135433c10a1ba69d688969e6d9dce54d3b3aae3a7f2ab904e657e3fb05241fac110aa07e62cc3991d7d0d6329b5ab9d69d7336c0d1"
        "48588c9f0921325b85df5fd30db80a56a3724372153641961aa7e042bf2646ff46022c059d5794c3a4b7f90c410de71a5231dd9b83bb"
        "d0e6bdab1bf9e62f",
    ),
    "MLKEM1024": Answer(
        "b6dff88f25fef3b0bbee12f9c5fe8174c6df6f300e0d975419cef692759d6906",
        "23f211b84a6ee20c8c29f6e5314c91b414e940513d380add17bd724ab3a13a52",
        "e48737173eb6d3030ad022d4f98486d9ede2a54f82f093aa519c752a856cb387",
        "707d18cabcf89670c80003b47d2b8678ad0da4aaad781a3351e82ac3e447e7019af5cb86020fb2ac727e79654155835b45de9b8af5e5"
        "c7efa01295da8988131dc8d6edb0645c3e4116aab080c5a571e760416fe8e299c89811963cf9776e0c828751701f90e26435897f8fdf"
        "7a7afaad987009c0eb12fb914dfaab1fce9264f55ee0cb4d89449385dd081b02dace9b179a54513d281529b8fd61c53e3bcfc9e2c3ae"
        "72339a6197119f97d44b05d3f36a5abe0a3f7ccbdbb91d24b25856462a649b6c1d46ae6e05e999274da9239e674525a522f6141cb95d"
        "e96b93b39f0f7d090d4b1c0546ef6fc3fd08e90b228f657af31eb933c9cfce634af6bf820d5e185f3157efbc926a8ae420f29300513b"
        "af30236cc11447e74aed4e262799d77a5cf22b0a7da1264225fcd68cf07670bbf5b04f3173d6142dc9426d9006ddedc5d59443a11c8d"
        "20453c2867c10434ab6b05b4f0b467b67a4203037c16ea720945de474102e168d5f79d7f530f61d6b7973ed6457e877fb2b45e321ded"
        "8ffd30368259b3ea60b4cf9d11c5a0087f27ed40d5365c3d0b8ba2e8cdea59afa35149970488cea9e07c9434923e96e6a99cf3a0be11"
        "016a86dc9eaa539fecbddc6cfd597a28aecae2757234340194f4fac7e5a204821382d5928c8e035833c7cad49bba4304e826d5c024c7"
        "cca2acf95c6cbbd68c3848554a855695c248add50c87dae4a49d11cdbc7c757ab1e00b8fd21e7854a897dc21b40f087b3dfb131773d9"
        "d87401e5d5017ab1f86430f889ff66cc9e04be863e7e38ad527e7644c8ce93d0bc2e255cdc3be2d3784ed0c12649f5febbabac0c8e4c"
        "917c8bef29775fa3db1ea23feddc609539c23354dce722aee71c45407b34da006f24452ea05e766e6b5dcac937ef743aa908a7b7cf2f"
        "3ed8931c61cdd343dfdf6c588d1b1f4099ba5be53e7691099660877463c4310a36767ee27e0dbd3132acf6888421e1012edf383d4eec"
        "9643e8a10b50e10527c5a1474458b35e54b841fc02599ed07c190154525c47b85e69b09e8208dcf36f7e38d9f1090b8daf0a324d7cb4"
        "8ace08dac11be460585dba9061abe7ef724343a4baf1c74090e8d7918648d0ddc43743bc031eec9e3a2912d870f50edcdb6e292456c4"
        "00006ef65eb2c24e038ca3ddf975e2a2611a8b187e33e52aaddc119ef9e6403c61924a7cf229f6619ef9baceee7c04f2675996174c93"
        "8078f50ccaf6d6580fced01564723d2979b33b77f689951b7c77b650e48a840853932612c080f9b55bfc78de641e0902c5503b2f6cc4"
        "50664771b94d5590957b669ea08b96f368e11eb905427e2650ed185d6003ab704e23889300cdd920060d3934b44074783db397172838"
        "c9be318b5f892058e67d9ec94019870d758229e63018cd85d4492e0eb8c0a90d3a666e7616ddab331601ec9611572929ee74bce8d3bf"
        "b8a708858fdbf661bea1f0927f6e5192a86151fd03b001936c82da6d8c147a1af2e91b22a402ce758fd743226a870f3e3635231a390a"
        "20c6aee172818979dcc4db5e8bd9802bc5c0bffda35c288d027cbade7d615996879a09292bb3ca2c9720e741e51959d818c9df6903bb"
        "711a93ba67b845397dd1d578c6b937f8c3eee4675046f3c3004ab104a436c551352e70d5179c43ce48c5ee710744de4596b3c4cdb121"
        "81d0d96ac0ec69aa1451159fabcf3fb8899809aecc4d4f097e86b4b735215c89d13b0dafe75df0020b22bef4973b457f548b4a8998df"
        "f79232ec446951aa7ebc92212bae1a06f782be9925a532e10dd02aada8948766c427ed5a579936ebbf5c7a2c9762fdbfe14c70b2c011"
        "8378acd644056fec83c774b54867e3889c2af117661086aa5abdc1bd1be41c0f66343e0ec517a7a59849b2b5a37a990ce4487b098dbd"
        "d9178b288411f4373654c873ee8ed018156bb3401153b096f853aa14c365b2c3215413ebce8dc07c4bafdd02613e1659056a4d010e97"
        "0b38dc7e10072403d8c9622eebf4030b6ab640f7022d5c2c938c0ca2156bc16164b2320663de1f904a5c0d9f63d46eb413081c809af2"
        "cbc247d26bb6cb74c58022cbc9b7d60b17d03255e736024b6146ab9f1c1c6d648b9fdf256a602b7c469da04bffb6b7355728a05308b9"
        "336a49a1522d7e7ee0ad2fd2472bb9cf882a4851f5ba5b433def666fb0bfed4358afdf5b6005051e74c16244f4579288a0da8c2f4959"
        "8f74",
    ),
}
ROWS = pytest.mark.parametrize("row", ke.KEMS, ids=lambda row: row.name)


def exactly(count: int) -> bytes:
    """Entropy that is asked for just as much."""
    assert count == len(SEED)
    return SEED


def none(count: int) -> bytes:
    raise AssertionError(count)


@ROWS
def test_keys_and_secrets_are_those_of_fips_203(row: ke.KeRow) -> None:
    answer = ANSWERS[row.name]
    ours = key_exchange_new(row.transform, exactly)
    assert hashlib.sha256(ours.public).hexdigest() == answer.public
    assert len(ours.public) == row.public_len
    ciphertext = bytes.fromhex(answer.ciphertext)
    assert len(ciphertext) == row.answer_len
    assert ours.shared(ciphertext).hex() == answer.shared
    assert ours.shared(bytes([ciphertext[0] ^ 1]) + ciphertext[1:]).hex() == answer.rejected


@ROWS
def test_both_ends_agree(row: ke.KeRow) -> None:
    ours = key_exchange_new(row.transform, exactly)
    one, other = (key_exchange_answer(row.transform, ours.public, none) for _ in range(2))
    assert one.public != other.public, "each responder draws its own secret"
    for theirs in (one, other):
        assert len(theirs.public) == row.answer_len
        assert ours.shared(theirs.public) == theirs.shared
        assert len(theirs.shared) == row.shared_len


@ROWS
@pytest.mark.parametrize("spoil", [lambda o: o[:-1], lambda o: o + b"\0", lambda _: b""])
def test_wrong_sizes_are_refused(row: ke.KeRow, spoil: Callable[[bytes], bytes]) -> None:
    ours = key_exchange_new(row.transform, exactly)
    theirs = key_exchange_answer(row.transform, ours.public, none)
    with pytest.raises(RemoteProtocolError, match="octets"):
        ours.shared(spoil(theirs.public))
    with pytest.raises(RemoteProtocolError, match="octets"):
        key_exchange_answer(row.transform, spoil(ours.public), none)
    with pytest.raises(ValueError, match="ciphertext"):
        KemKey(row, SEED).decapsulate(spoil(theirs.public))


@ROWS
def test_numbers_above_the_modulus_are_refused(row: ke.KeRow) -> None:
    """FIPS 203 7.2: 3329 and more in twelve bits."""
    good = key_exchange_new(row.transform, exactly).public
    for place in (0, 3, row.public_len - 35):
        bad = bytearray(good)
        bad[place : place + 2] = (3329).to_bytes(2, "little") if place % 3 == 0 else b"\xff\xff"
        with pytest.raises(RemoteProtocolError, match="too large"):
            key_exchange_answer(row.transform, bytes(bad), none)
