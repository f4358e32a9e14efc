#!/usr/bin/python3
"""Makes vectors.json: hashes of known passwords by other implementations.

    apt-get install python3-argon2 python3-bcrypt argon2 apache2-utils
    /usr/bin/python3 make_vectors.py > vectors.json

argon2-cffi wraps the reference implementation of RFC 9106; argon2 is that
implementation's own command; htpasswd is Apache's bcrypt, the source of $2y$.
"""
import json
import subprocess

import bcrypt
from argon2.low_level import Type, hash_secret

SALT = b"grantd test salt"
PASSWORDS = ["secret123", "correct horse  battery", "pä€ß", "\N{GRINNING FACE} smile", "x" * 64]


def cffi(password, m, t, p, salt=SALT, key=32):
    return hash_secret(password.encode(), salt, time_cost=t, memory_cost=m, parallelism=p, hash_len=key, type=Type.ID).decode()


def command(password, m, t, p):
    args = ["argon2", SALT.decode(), "-id", "-k", str(m), "-t", str(t), "-p", str(p), "-l", "32", "-v", "13", "-e"]
    return subprocess.run(args, input=password.encode(), capture_output=True, check=True).stdout.decode().strip()


def htpasswd(password, cost):
    args = ["htpasswd", "-nbBC", str(cost), "u", password]
    return subprocess.run(args, capture_output=True, check=True).stdout.decode().strip().split(":", 1)[1]


vectors = []


def add(maker, password, encoded):
    vectors.append({"maker": maker, "password": password, "hash": encoded})


for password in PASSWORDS:
    add("argon2-cffi", password, cffi(password, 19456, 2, 1))
    add("argon2", password, command(password, 19456, 2, 1))
    add("python bcrypt", password, bcrypt.hashpw(password.encode(), bcrypt.gensalt(5)).decode())
    add("htpasswd", password, htpasswd(password, 5))
for m, t, p, salt, key in [(8, 1, 1, 8, 16), (64, 3, 4, 16, 32), (1024, 16, 2, 64, 64), (65536, 4, 1, 16, 32), (65536, 3, 4, 16, 32)]:
    add("argon2-cffi", "secret123", cffi("secret123", m, t, p, (SALT * 4)[:salt], key))
add("python bcrypt", "secret123", bcrypt.hashpw(b"secret123", bcrypt.gensalt(5, prefix=b"2a")).decode())
add("python bcrypt", "secret123", bcrypt.hashpw(b"secret123", bcrypt.gensalt(10)).decode())
add("python bcrypt", "y" * 72, bcrypt.hashpw(b"y" * 72, bcrypt.gensalt(4)).decode())
# As another system hashes it: the bytes that were sent, not normalised.
add("python bcrypt", "cafe\u0301", bcrypt.hashpw("cafe\u0301".encode(), bcrypt.gensalt(4)).decode())
print(json.dumps(vectors, indent=1, ensure_ascii=True))
