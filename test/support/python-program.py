"""Runs one program written in Python again and again, each time in a process of its own, but loads it only once.

Loading is most of what a call of `openstack` or `cinder` costs. This process makes the program tell its help, which
loads all that it is made of, and then forks for each call: the child runs the program's own file, as a shell would.

The argument is the program's file, /usr/bin/openstack. Each line of standard input is a call's arguments as JSON,
["volume", "list"], and is answered by a line {"code": 0, "stdout": "…", "stderr": "…"}. Ends when the input does.
"""

import contextlib
import io
import json
import logging
import os
import runpy
import sys
import tempfile

# A command whose help needs most of what the program's commands need.
TYPICAL = {'openstack': ['volume', 'list'], 'cinder': ['list'], 'glance': ['image-list']}


def run(program, argv):
    """Runs the program to its end in this process. Returns its exit code."""
    sys.argv = [program, *argv]
    try:
        runpy.run_path(program, run_name='__main__')
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    return 0


def load(program):
    command = TYPICAL.get(os.path.basename(program), [])
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        run(program, ['help', *command])
    logging.getLogger().handlers.clear()  # each call sets up its own


def become(program, argv, stdout, stderr):
    """Runs the program in this process, and ends it. Does not return."""
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        code = run(program, argv)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def call(program, argv):
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = os.fork()
        if child == 0:
            become(program, argv, stdout, stderr)
        _, status = os.waitpid(child, 0)
        answer = {'code': os.waitstatus_to_exitcode(status)}
        for name, stream in (('stdout', stdout), ('stderr', stderr)):
            stream.seek(0)
            answer[name] = stream.read().decode('utf-8', 'replace')
        return answer


program = sys.argv[1]
load(program)
for line in sys.stdin:
    print(json.dumps(call(program, json.loads(line))), flush=True)
