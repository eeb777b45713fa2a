#!/usr/bin/env python3
"""Records what a real PostgreSQL answers, for the tests beside this file.

usage: capture.py <socket dir> <port>    (pg_hba.conf: role postgres trust, clear password, shop scram-sha-256)

Requests are put together here by hand with struct, so that the encoder under test is compared with bytes that it did
not write itself. Each exchange becomes `<name>.client.hex` and `<name>.server.hex`.
"""
import os, socket, struct, sys

HERE = os.path.dirname(os.path.abspath(__file__))
DIRECTORY, PORT = sys.argv[1], sys.argv[2]


def message(tag, body):
    return tag + struct.pack("!i", len(body) + 4) + body


def startup(user, database="postgres"):
    pairs = [
        ("user", user), ("database", database), ("client_encoding", "UTF8"), ("application_name", "flux-gate"),
        ("DateStyle", "ISO"), ("TimeZone", "UTC"), ("synchronous_commit", "on"), ("statement_timeout", "10000"),
        ("lock_timeout", "5000"), ("idle_in_transaction_session_timeout", "10000"), ("tcp_user_timeout", "10000"),
        ("tcp_keepalives_idle", "5"), ("tcp_keepalives_interval", "5"),
    ]
    body = struct.pack("!i", 0x30000) + b"".join(k.encode() + b"\0" + v.encode() + b"\0" for k, v in pairs) + b"\0"
    return struct.pack("!i", len(body) + 4) + body


def statement(sql, params=()):
    """params: (oid, bytes or None); oid 0 travels as text, the others in binary"""
    parse = message(b"P", b"\0" + sql.encode() + b"\0" + struct.pack("!H", len(params))
                    + b"".join(struct.pack("!I", oid) for oid, _ in params))
    bind = b"\0\0" + struct.pack("!H", len(params)) + b"".join(struct.pack("!h", int(oid != 0)) for oid, _ in params)
    bind += struct.pack("!H", len(params))
    for _, value in params:
        bind += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    bind += struct.pack("!H", 0)
    return parse + message(b"B", bind) + message(b"E", b"\0" + struct.pack("!i", 0))


SYNC = message(b"S", b"")


def row(*fields):
    return struct.pack("!h", len(fields)) + b"".join(
        struct.pack("!i", -1) if f is None else struct.pack("!i", len(f)) + f for f in fields)


def copy(*rows):
    data = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0) + b"".join(rows) + struct.pack("!h", -1)
    return message(b"d", data) + message(b"c", b"")


class Connection:
    def __init__(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(5)
        self.socket.connect(f"{DIRECTORY}/.s.PGSQL.{PORT}")

    def take(self, until):
        """whole messages until one of type `until`, or the end"""
        got = b""
        while True:
            head = self.exactly(5)
            if head is None:
                return got
            body = self.exactly(struct.unpack("!i", head[1:])[0] - 4)
            got += head + body
            if head[:1] == until:
                return got

    def exactly(self, length):
        got = b""
        while len(got) < length:
            piece = self.socket.recv(length - len(got))
            if not piece:
                return None
            got += piece
        return got

    def ask(self, request, until=b"Z"):
        self.socket.sendall(request)
        return self.take(until)


def write(name, client, server):
    for side, data in (("client", client), ("server", server)):
        with open(f"{HERE}/{name}.{side}.hex", "w") as out:
            text = data.hex()
            out.write("\n".join(text[i:i + 116] for i in range(0, len(text), 116)) + "\n")


def login(user):
    connection = Connection()
    connection.ask(startup(user))
    return connection


def main():
    connection = Connection()
    request = startup("postgres")
    write("startup_trust", request, connection.ask(request))

    connection.ask(message(b"Q", b"create table if not exists golden (id uuid primary key, name text, units int, "
                                 b"number bigint, at timestamptz); truncate golden\0"))

    # As a batch goes: everything up to COMMIT in one write.
    one = (bytes(range(16)), b"user-42", struct.pack("!i", 3), struct.pack("!q", 1705234700000),
           struct.pack("!q", 1705234800123 * 1000 - 946684800000000))
    two = (bytes(range(1, 17)), None, struct.pack("!i", -1), struct.pack("!q", -2), struct.pack("!q", 0))
    sql = "COPY golden (id, name, units, number, at) FROM STDIN (FORMAT binary)"
    request = statement("BEGIN") + statement(sql) + copy(row(*one), row(*two)) \
        + statement("UPDATE golden SET units = units + $1 WHERE number = ANY($2)",
                    ((23, struct.pack("!i", 1)), (1016, struct.pack("!iiIii", 1, 0, 20, 1, 1) + row(one[3])[2:]))) \
        + statement("COMMIT") + SYNC
    write("copy_stored", request, connection.ask(request))

    # The server's own binary rows: what our row encoder must write.
    copied = connection.ask(message(b"Q", b"copy (select id, name, units - 1, number, at from golden where units = 4 "
                                          b"union all select id, name, units, number, at from golden where units < 0"
                                          b") to stdout (format binary)\0"))
    write("copy_rows", b"", copied)

    # The same key again: 23505, the statements behind it skipped, the transaction failed.
    request = statement("BEGIN") + statement(sql) + copy(row(*one)) + statement("UPDATE golden SET units = 0") \
        + SYNC
    write("copy_duplicate", request, connection.ask(request))
    request = statement("ROLLBACK") + SYNC
    write("rollback", request, connection.ask(request))

    request = statement("SELECT $1::int + 1, NULL, $2::text, 'läuft'", ((0, b"41"), (0, None))) \
        + statement("SELECT id FROM golden WHERE id = ANY($1) ORDER BY id",
                    ((2951, struct.pack("!iiIii", 1, 0, 2950, 1, 1) + struct.pack("!i", 16) + one[0]),)) + SYNC
    write("select", request, connection.ask(request))

    request = message(b"Q", b"select 1; update golden set units = 7 where units = 4; select 2\0")
    write("simple", request, connection.ask(request))

    request = statement("DO $$ BEGIN RAISE NOTICE 'by the way'; END $$") + SYNC
    write("notice", request, connection.ask(request))

    request = statement("SELECT * FROM nowhere") + statement("SELECT 1") + SYNC
    write("no_table", request, connection.ask(request))

    request = statement("SELECT pg_terminate_backend(pg_backend_pid())") + SYNC
    write("terminated", request, connection.ask(request, until=b"E"))

    connection = Connection()
    request = startup("clear")
    asked = connection.ask(request, until=b"R")
    answer = message(b"p", b"wrong\0")
    write("wrong_password", request + answer, asked + connection.ask(answer, until=b"E"))

    connection = Connection()
    request = startup("shop")
    write("sasl_asked", request, connection.ask(request, until=b"R"))

    connection = Connection()
    request = startup("postgres", "nowhere")
    write("no_database", request, connection.ask(request, until=b"E"))


main()
