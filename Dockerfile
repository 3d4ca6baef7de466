# One image for gateway, worker and sink: docker run sluice gateway
FROM python:3.13-slim AS native

WORKDIR /app
COPY requirements-native.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements-native.txt
COPY native native
RUN python native/build.py

FROM python:3.13-slim

WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt

COPY --from=native /app/native native
COPY schemas schemas
COPY runtime runtime
COPY gateway gateway
COPY streams streams
COPY sinks sinks
COPY embedded embedded
COPY cli cli

RUN useradd --create-home sluice && mkdir /data && chown sluice /data
USER sluice
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 SLUICE_DATA_DIR=/data SLUICE_LOG_FORMAT=json
VOLUME /data

ENTRYPOINT ["python", "-m", "cli.main"]
CMD ["--help"]
