"""One end of a connection as a process of its own, which can be stopped and killed.

    puppet.py listen|connect PATH STATUS

What comes in on the connection goes to standard output; standard input says what to send: a length (4 bytes, big endian)
and so many bytes, or the length 0: no more will be sent. When the connection has ended, its end is written to the file
STATUS: "eof", or the name of the error.
"""

import errno
import os
import socket
import sys
import threading


def receive(connection, status):
    """Passes on all there is."""
    try:
        while data := connection.recv(65536):
            while data:
                data = data[os.write(1, data):]
        end = "eof"
    except OSError as error:
        end = errno.errorcode.get(error.errno, str(error))
    with open(status + ".new", "w", encoding="ascii") as file:
        file.write(end)
    os.rename(status + ".new", status)


def main():
    kind, path, status = sys.argv[1:]
    connection = socket.socket(socket.AF_UNIX)
    if kind == "listen":
        connection.bind(path)
        connection.listen(16)
        os.write(2, b"ready")
        connection, _ = connection.accept()
    else:
        connection.connect(path)
        os.write(2, b"ready")
    threading.Thread(target=receive, args=(connection, status), daemon=True).start()
    commands = sys.stdin.buffer
    while head := commands.read(4):
        size = int.from_bytes(head, "big")
        try:
            if size == 0:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.sendall(commands.read(size))
        except OSError:
            pass  # the other thread sees how it ended
    os._exit(0)


main()
