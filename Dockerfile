# A static binary and nothing else. Build: docker build -t segue .
# Run: docker run -p 127.0.0.1:7070:7070 -v segue:/data segue
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /out/segue ./cmd/segue && mkdir /out/data

FROM scratch
COPY --from=build /out/segue /segue
# Owned by the user below, so that a volume mounted here is writable.
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
VOLUME /data
EXPOSE 7070
ENTRYPOINT ["/segue"]
# Without TLS or identity, for trying it out: inside a container the port has to be open to the container's network, and whoever
# publishes it decides who reaches it, as the run line above does with 127.0.0.1. deploy/helm has both.
CMD ["serve", "--data", "/data", "--listen", "0.0.0.0:7070", "--insecure"]
