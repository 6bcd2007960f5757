# Two stages: the first builds an environment from the hash locks, the second holds only that environment.
ARG PYTHON=python:3.11-slim

FROM ${PYTHON} AS build
WORKDIR /build
COPY requirements/run.lock requirements/build.lock requirements/
RUN python -m venv /opt/builder \
 && /opt/builder/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/build.lock \
 && python -m venv /opt/sealgate \
 && /opt/sealgate/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements/run.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/builder/bin/python -m hatchling build -t wheel -d /build/dist \
 && /opt/sealgate/bin/pip install --no-deps --no-index /build/dist/*.whl

FROM ${PYTHON}
COPY --from=build /opt/sealgate /opt/sealgate
# A fixed number, so that a volume's owner is the same in every release and Kubernetes can check runAsNonRoot.
RUN install -d -o 10001 -g 10001 -m 0700 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
ENV PATH=/opt/sealgate/bin:$PATH HOME=/data PYTHONDONTWRITEBYTECODE=1
EXPOSE 3000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/health', timeout=2)"]
ENTRYPOINT ["sealgate"]
CMD ["serve", "--host", "0.0.0.0"]
