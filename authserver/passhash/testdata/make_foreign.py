#!/usr/bin/python3
"""Makes foreign.json: hashes of known passwords by the libraries that people come from.

    apt-get install python3-django python3-passlib python3-bcrypt python3-argon2 python3-werkzeug apache2-utils libcrypt1
    /usr/bin/python3 make_foreign.py > foreign.json

Every hash is made by the library named, and verified by it. Costs are low where
they may be, so that tests are quick; one hash of each format has the default cost.
Debian's Django and Werkzeug are too old for scrypt: those hashes are made by
hashlib as both do it, and one is from Django's own tests.
"""
import base64
import ctypes
import hashlib
import json
import subprocess

from django.conf import settings

settings.configure(PASSWORD_HASHERS=[
    "django.contrib.auth.hashers." + h for h in (
        "PBKDF2PasswordHasher", "PBKDF2SHA1PasswordHasher", "Argon2PasswordHasher", "BCryptSHA256PasswordHasher", "BCryptPasswordHasher")
])

import werkzeug.security
from django.contrib.auth import hashers as django
from passlib import hash as passlib

PASSWORDS = {
    "ascii": "secret123",
    "spaces": "correct horse  battery",
    "Unicode": "pä€ß",
    "four bytes": "\N{GRINNING FACE} smile",
    "decomposed": "cafe\u0301",
    "another space": "pass\u00a0word",
    "punctuation": "p'\"\\ {}$:,",
    "72 bytes": "y" * 72,
    "73 bytes": "y" * 72 + "z",
    "over 72 bytes, cut within a character": "ü" * 35 + "x" + "€" * 10,
    "128 bytes, a block of SHA-512": "0123456789abcdef" * 8,
    "200 bytes": "long password " * 14 + "four",
}

vectors = []


def add(maker, password, encoded, check=None):
    if check is not None and not check(password, encoded):
        raise SystemExit(f"{maker}: its own hash doesn't verify: {encoded}")
    vectors.append({"maker": maker, "password": password, "hash": encoded})


crypt_library = ctypes.CDLL("libcrypt.so.1")
crypt_library.crypt.restype = ctypes.c_char_p


def crypt(password, setting):
    made = crypt_library.crypt(password.encode(), setting.encode()).decode()
    if made.startswith("*"):
        raise SystemExit(f"crypt refuses {setting}")
    return made


def cheap_django(name, **attributes):
    hasher = django.get_hasher(name)
    for key, value in attributes.items():
        setattr(hasher, key, value)
    return hasher


def werkzeug_check(password, encoded):
    return werkzeug.security.check_password_hash(encoded, password)


def htpasswd(password):
    args = ["htpasswd", "-nbBC", "4", "u", password]
    return subprocess.run(args, capture_output=True, check=True).stdout.decode().strip().split(":", 1)[1]


# The costs that people have.
for name in ("pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt"):
    add("Django " + name, "secret123", django.make_password("secret123", hasher=name), django.check_password)
for name in ("bcrypt", "bcrypt_sha256", "pbkdf2_sha1", "pbkdf2_sha256", "pbkdf2_sha512", "scrypt", "argon2", "sha256_crypt", "sha512_crypt"):
    hasher = getattr(passlib, name)
    add("passlib " + name, "secret123", hasher.hash("secret123"), hasher.verify)
for method in ("pbkdf2:sha256", "pbkdf2:sha1", "pbkdf2:sha512"):
    add("Werkzeug", "secret123", werkzeug.security.generate_password_hash("secret123", method), werkzeug_check)
add("crypt(3)", "secret123", crypt("secret123", "$6$saltstring"))
add("crypt(3)", "secret123", crypt("secret123", "$5$saltstring"))

# All passwords, cheaply.
cheap_django("pbkdf2_sha256", iterations=3)
cheap_django("pbkdf2_sha1", iterations=2)
cheap_django("argon2", time_cost=1, memory_cost=64, parallelism=2)
cheap_django("bcrypt_sha256", rounds=4)
cheap_django("bcrypt", rounds=4)
cheap_passlib = [
    passlib.bcrypt.using(rounds=4),
    passlib.bcrypt.using(rounds=4, ident="2a"),
    passlib.bcrypt.using(rounds=4, ident="2y"),
    passlib.bcrypt_sha256.using(rounds=4),
    passlib.bcrypt_sha256.using(rounds=4, version=1),
    passlib.pbkdf2_sha1.using(rounds=2),
    passlib.pbkdf2_sha256.using(rounds=3),
    passlib.pbkdf2_sha512.using(rounds=4),
    passlib.scrypt.using(rounds=4),
    passlib.scrypt.using(rounds=3, block_size=4, parallelism=3),
    passlib.argon2.using(type="ID", rounds=1, memory_cost=64, parallelism=2),
    passlib.argon2.using(type="I", rounds=3, memory_cost=32, parallelism=1),
    passlib.sha256_crypt.using(rounds=1000),
    passlib.sha512_crypt.using(rounds=1000),
]
for password in PASSWORDS.values():
    for name in ("pbkdf2_sha256", "pbkdf2_sha1", "argon2", "bcrypt_sha256", "bcrypt"):
        add("Django " + name, password, django.make_password(password, hasher=name), django.check_password)
    for hasher in cheap_passlib:
        add("passlib " + hasher.name, password, hasher.hash(password), hasher.verify)
    for method in ("pbkdf2:sha256:3", "pbkdf2:sha1:2", "pbkdf2:sha512:4"):
        add("Werkzeug", password, werkzeug.security.generate_password_hash(password, method), werkzeug_check)
    add("crypt(3)", password, crypt(password, "$6$rounds=1001$saltstringsaltst"))
    add("crypt(3)", password, crypt(password, "$5$rounds=1001$salt"))
    add("htpasswd", password, htpasswd(password))

# Salts at their edges.
for size in (0, 1, 64):
    for hasher in (passlib.pbkdf2_sha256, passlib.pbkdf2_sha512, passlib.scrypt):
        hasher = hasher.using(rounds=2, salt_size=size)
        add("passlib " + hasher.name, "secret123", hasher.hash("secret123"), hasher.verify)
for size in (0, 1, 16):
    for hasher in (passlib.sha256_crypt, passlib.sha512_crypt):
        hasher = hasher.using(rounds=1000, salt_size=size)
        add("passlib " + hasher.name, "secret123", hasher.hash("secret123"), hasher.verify)
add("Django pbkdf2_sha256", "secret123", django.make_password("secret123", salt="sält {}:,.", hasher="pbkdf2_sha256"), django.check_password)

# Of Django's own tests of scrypt, which came with its version 4.
add("Django scrypt", "lètmein",
    "scrypt$16384$seasalt$8$1$Qj3+9PPyRjSJIebHnG81TMjsqtaIGxNQG/aEB/NYafTJ7tibgfYz71m0ldQESkXFRkdVCBhhY8mx7rQwite/Pw==")

# Django and Werkzeug say hashlib.scrypt(password, salt=salt, n=N, r=r, p=p, dklen=64), and differ in how they spell it.
for password in PASSWORDS.values():
    key = hashlib.scrypt(password.encode(), salt=b"seasalt", n=16, r=8, p=5, dklen=64)
    add("hashlib as Django", password, "scrypt$16$seasalt$8$5$" + base64.b64encode(key).decode())
    add("hashlib as Werkzeug", password, "scrypt:16:8:5$seasalt$" + key.hex())

# Prefixes of those that keep several formats side by side.
for prefix, hasher in {
    "{bcrypt}": passlib.bcrypt.using(rounds=4, ident="2a"),
    "{BLF-CRYPT}": passlib.bcrypt.using(rounds=4, ident="2y"),
    "{argon2}": passlib.argon2.using(type="ID", rounds=1, memory_cost=64, parallelism=1),
    "{argon2@SpringSecurity_v5_8}": passlib.argon2.using(type="ID", rounds=1, memory_cost=64, parallelism=1),
    "{ARGON2ID}": passlib.argon2.using(type="ID", rounds=1, memory_cost=64, parallelism=1),
    "{ARGON2I}": passlib.argon2.using(type="I", rounds=3, memory_cost=64, parallelism=1),
    "{SHA256-CRYPT}": passlib.sha256_crypt.using(rounds=1000),
    "{SHA512-CRYPT}": passlib.sha512_crypt.using(rounds=1000),
    "{CRYPT}": passlib.sha512_crypt.using(rounds=1000),
}.items():
    add("passlib " + hasher.name + " behind " + prefix, "secret123", prefix + hasher.hash("secret123"))
print(json.dumps(vectors, indent=0, ensure_ascii=True))
