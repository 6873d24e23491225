# LEP Studio in a container. Two variants of one image:
#   docker build -t lep-studio:cpu .                                             CPU only, the small one
#   docker build -t lep-studio:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .    PyTorch with CUDA, for hosts with NVIDIA GPUs
#   docker run --rm -p 127.0.0.1:7860:7860 -e LEP_USER=me -e LEP_PASSWORD=... -v lep-workspace:/workspace lep-studio:cpu
# A folder of the host in place of the volume must belong to user 10001.
FROM python:3.11-slim-bookworm

# An image that is built tomorrow takes tomorrow's security fixes.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 lep \
    && mkdir /workspace && chown lep /workspace

WORKDIR /opt/lep-studio
COPY requirements.txt ./
# torch first and from its own index: PyPI's build for x86-64 Linux brings several GB of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple "$(grep '^torch==' requirements.txt)" \
    && pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE app.py ./
COPY lep_core ./lep_core
COPY ui ./ui
COPY assets ./assets
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && python -m compileall -q lep_core ui

# By number, so that Kubernetes can see that it is not root.
USER 10001
# Caches go where a read-only container can write.
ENV HOST=0.0.0.0 PORT=7860 WORKSPACE=/workspace PYTHONUNBUFFERED=1 HF_HOME=/workspace/.huggingface XDG_CACHE_HOME=/tmp/cache TRITON_CACHE_DIR=/tmp/triton
EXPOSE 7860
VOLUME /workspace
HEALTHCHECK --interval=30s --timeout=20s --start-period=60s --retries=3 CMD ["python", "-m", "ui.health"]
# An init as first process: it forwards SIGTERM to the app and reaps the jobs' processes.
ENTRYPOINT ["tini", "--"]
CMD ["python", "app.py"]
