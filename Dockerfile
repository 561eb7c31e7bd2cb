# slasearch with its bundled model and tasks. Studies lie in /data/.slasearch: mount a folder at /data.
FROM python:3.12-slim

WORKDIR /opt/slasearch
COPY pyproject.toml README.md LICENSE ./
COPY slasearch ./slasearch
RUN pip install --no-cache-dir '.[bundled]'
COPY studies /opt/studies

WORKDIR /data
ENTRYPOINT ["slasearch"]
CMD ["--help"]
