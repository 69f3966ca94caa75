"""A certificate authority of the tests' own, made anew for each run."""

import pathlib
import shutil
import subprocess
import tempfile


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """Signs certificates; everything lies in one folder, which remove() takes away."""

    def __init__(self, name="Postern's tests"):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-ca-"))
        self.folder.chmod(0o755)
        self.certificate = self.folder / "ca.crt"
        self._key = self.folder / "ca.key"
        _openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key,
                 "-out", self.certificate)

    def sign(self, name, alternative="IP:127.0.0.1,DNS:localhost"):
        """A certificate and its key, as two files."""
        key, request, certificate = (self.folder / f"{name}.{end}" for end in ("key", "csr", "crt"))
        _openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName = {alternative}\n")
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key,
                 "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate)
        return certificate, key

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
