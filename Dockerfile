# LEP Studio for CPU. On a GPU host the same image works with `docker run --gpus all`: the pinned torch brings CUDA on x86-64 Linux.
#   docker build -t lep-studio .
#   docker run --rm -p 127.0.0.1:7860:7860 -e LEP_USER=me -e LEP_PASSWORD=... -v "$PWD/workspace:/workspace" lep-studio
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 lep \
    && mkdir /workspace && chown lep /workspace

WORKDIR /opt/lep-studio
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY pyproject.toml README.md LICENSE app.py ./
COPY lep_core ./lep_core
COPY ui ./ui
COPY assets ./assets
RUN pip install --no-cache-dir --no-deps --no-build-isolation --editable .

USER lep
ENV HOST=0.0.0.0 PORT=7860 WORKSPACE=/workspace PYTHONUNBUFFERED=1 HF_HOME=/workspace/.huggingface
EXPOSE 7860
VOLUME /workspace
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PORT']}/health\", timeout=4)"]
# An init as first process: it forwards SIGTERM to the app and reaps the jobs' processes.
ENTRYPOINT ["tini", "--"]
CMD ["python", "app.py"]
