# The image has one static program, the root certificates of the web, and three directories
# that the user of the process may write to. .ci/image checks the last stage.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/root/grantd ./cmd/grantd \
 && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /out/root/etc/ssl/certs/ca-certificates.crt \
 && mkdir -p /out/own/data /out/own/run/grantd /out/own/run/redis

FROM scratch AS runtime
COPY --from=build /out/root/ /
# Directories for the embedded store (/data) and for secrets (/run/grantd, /run/redis). A new
# volume takes the owner of the directory that it is mounted on.
COPY --from=build --chown=65532:65532 /out/own/ /
USER 65532:65532
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 CMD ["/grantd", "healthcheck"]
ENTRYPOINT ["/grantd"]
CMD ["serve"]
