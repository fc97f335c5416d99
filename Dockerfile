# deploy/image builds it with all arguments set. Without them the labels and --version lack
# the revision, the date and the source, and nothing else.
FROM --platform=$BUILDPLATFORM docker.io/library/golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The builder sets them for each platform. Empty, they are the machine's own.
ARG TARGETOS
ARG TARGETARCH
ARG REVISION=""
ARG CREATED=""
RUN GOOS=$TARGETOS GOARCH=$TARGETARCH make build OUT=/out/vbaws_exporter REVISION="$REVISION" CREATED="$CREATED" \
    && deploy/licenses >/out/copyright \
    && mkdir -m 700 /out/data

# Time zones are in the binary.
FROM scratch
# For appliances with a certificate of a public authority, and for proxies.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /out/vbaws_exporter /bin/vbaws_exporter
COPY --from=build /out/copyright /usr/share/doc/vbaws_exporter/copyright
COPY --from=build --chown=65534:65534 /out/data /data
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="vbaws_exporter" \
      org.opencontainers.image.description="Prometheus exporter for Veeam Backup for AWS" \
      org.opencontainers.image.vendor="The vbaws_exporter authors" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="scratch" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.url="$SOURCE" \
      org.opencontainers.image.documentation="${SOURCE:+$SOURCE#readme}"
USER 65534:65534
VOLUME /data
EXPOSE 10105
# Only the demo needs a temporary folder, and there is no other place.
ENV TMPDIR=/data
# If it listens elsewhere: --health-cmd, with --web.listen-address.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["/bin/vbaws_exporter", "healthcheck"]
ENTRYPOINT ["/bin/vbaws_exporter", "--config.file=/config/config.yml"]
CMD ["serve", "--storage.path=/data"]
