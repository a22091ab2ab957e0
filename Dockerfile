# Runs `make train`, or another command: docker run … make test
FROM python:3.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends make git chromium chromium-driver \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /arc
COPY . .
RUN make .venv/.installed
CMD ["make", "train"]
