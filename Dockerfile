# The studio in a container, for a CPU or, with --build-arg DEVICE=cuda, for a CUDA device.
# How to build and run it: docs/hosting.md. `make container` builds it and checks its health.
ARG BASE=python:3.12-slim
FROM ${BASE}

# Where pip finds packages, if not where it usually does: an index of CPU builds of torch, a mirror.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS

RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
RUN python -m venv /app/venv
COPY requirements.txt constraints.txt ./
RUN venv/bin/pip install --no-cache-dir -c constraints.txt -r requirements.txt "gradio[mcp]"

# onnxruntime and onnxruntime-gpu share a folder and must never both be installed.
ARG DEVICE=cpu
RUN if [ "$DEVICE" = cuda ]; then \
        venv/bin/pip uninstall --yes onnxruntime \
        && venv/bin/pip install --no-cache-dir --no-deps -c constraints.txt onnxruntime-gpu; \
    fi

COPY app.py LICENSE ./
COPY assets assets/
COPY identities identities/
COPY celeb_core celeb_core/
COPY ui ui/
RUN venv/bin/python -m compileall -q app.py celeb_core ui

# What is downloaded goes to the user's home folder, people and images to the folder of the start,
# and the people of browsers that are apart to the one for temporary files.
RUN useradd --uid 1000 --home-dir /data/models --create-home studio \
    && install --directory --owner=studio --group=studio /data/people
USER studio
WORKDIR /data/people
VOLUME ["/data/people", "/data/models"]
ENV HOME=/data/models TMPDIR=/data/people PYTHONUNBUFFERED=1 \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860
EXPOSE 7860

# An address that answers without a login.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10m --retries=3 \
    CMD ["/app/venv/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/gradio_api/startup-events', timeout=5)"]
ENTRYPOINT ["/app/venv/bin/python", "/app/app.py"]
