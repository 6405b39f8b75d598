# SPDX-License-Identifier: Apache-2.0
"""A session's folder without the command line: our objects, and a region of one card beside them."""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

BUILT = Path(__file__).resolve().parents[2] / "dist/native"
PROGRAMS = BUILT / "programs"
LIMIT_S = 180


class Slice:
    def __init__(self, limit: int | None, driver_folder: str):
        """limit None: a folder without a region, so no quota."""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-gpu-"))
        for name in ("libpenstock_vram.so", "libpenstock_nvml.so"):
            (self.folder / name).symlink_to(BUILT / "lib" / name)
        if limit is not None:
            subprocess.run([PROGRAMS / "session-tool", "make", self.folder, str(limit)], check=True, timeout=LIMIT_S)
        objects = [str(self.folder / name) for name in ("libpenstock_vram.so", "libpenstock_nvml.so")]
        self.env = {**os.environ, "LD_PRELOAD": ":".join(objects)}
        paths = [driver_folder.rstrip("/"), os.environ.get("LD_LIBRARY_PATH", "")]
        if driver_folder:
            self.env["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))

    def run(self, command: list, env: dict | None = None) -> str:
        words = [str(word) for word in command]
        done = subprocess.run(
            words, env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=LIMIT_S, check=False
        )
        if done.returncode:
            raise AssertionError(f"{words[0]} ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
        return done.stdout

    def used(self) -> int:
        """Bytes that the ledger charges to all processes of the session."""
        command = [str(PROGRAMS / "session-tool"), "show", str(self.folder)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True).stdout
        return int(said.splitlines()[-1].split()[1])

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Child:
    """A PyTorch program in a slice, asked line by line."""

    def __init__(self, python: str, where: Slice, env: dict | None = None):
        script = str(Path(__file__).with_name("torch_child.py"))
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [python, script],
            env={**where.env, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, command: str) -> dict:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(LIMIT_S)
            self.errors.seek(0)
            raise AssertionError(f"PyTorch ended with {self.process.returncode} at {command!r}: {self.errors.read()[-3000:]}")
        return json.loads(line)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(LIMIT_S)
