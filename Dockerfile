# The server in a container: built in stages, run as an ordinary user. docker-compose.yml uses it.
#   docker build --target cpu -t clipsight .
#   docker build --target gpu -t clipsight-gpu .

FROM node:22-bookworm-slim AS page
WORKDIR /src
COPY server/src/http/openapi.json server/src/http/openapi.json
COPY web web
RUN cd web && npm ci --no-audit --no-fund && npm run build

FROM rust:1.95-bookworm AS program
WORKDIR /src
COPY . .
COPY --from=page /src/web/dist web/dist
RUN cargo build --release --locked -p clipsight

FROM python:3.11-slim-bookworm AS onnxruntime
WORKDIR /src
COPY scripts scripts
RUN scripts/fetch_onnxruntime.sh

FROM python:3.11-slim-bookworm AS onnxruntime-gpu
WORKDIR /src
COPY scripts scripts
RUN scripts/fetch_onnxruntime.sh --gpu

FROM debian:bookworm-slim AS base
RUN useradd --uid 10001 --no-create-home clipsight && install -d -o clipsight -g clipsight /data
# The program finds the library and the starter model in the folders above itself.
COPY --from=program /src/target/release/clipsight /opt/clipsight/bin/clipsight
COPY models/starter /opt/clipsight/models/starter
ENV PATH=/opt/clipsight/bin:$PATH CLIPSIGHT_DATA=/data CLIPSIGHT_LISTEN=0.0.0.0:8080
USER clipsight
VOLUME /data
EXPOSE 8080
# Without a client of its own the shell asks; 200 is in the first line of the answer.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["bash", "-c", \
    "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /health/ready HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n' >&3 && read -r status <&3 && [[ $status == *' 200 '* ]]"]
ENTRYPOINT ["clipsight"]
CMD ["serve"]

FROM base AS gpu
COPY --from=onnxruntime-gpu /src/.runtime/onnxruntime-gpu /opt/clipsight/.runtime/onnxruntime
ENV CLIPSIGHT_PROVIDER=cuda \
    LD_LIBRARY_PATH=/opt/clipsight/.runtime/onnxruntime/nvidia/cu13/lib:/opt/clipsight/.runtime/onnxruntime/nvidia/cudnn/lib

# Last, so that it is what a build without a target makes.
FROM base AS cpu
COPY --from=onnxruntime /src/.runtime/onnxruntime /opt/clipsight/.runtime/onnxruntime
