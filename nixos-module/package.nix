# One of the two programs, built from the workspace.
{ lib
, rustPlatform
, program ? "lkc-guest"
,
}:
let
  workspace = lib.importTOML ../Cargo.toml;
  package =
    {
      lkc-guest = "guest-agent";
      lkc-host = "host-agent";
    }.${program};
in
rustPlatform.buildRustPackage {
  pname = program;
  inherit (workspace.workspace.package) version;

  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../protocol
      ../host-agent
      ../guest-agent
      ../tests
    ];
  };
  cargoLock.lockFile = ../Cargo.lock;
  cargoBuildFlags = [
    "--package"
    package
  ];

  # The tests need network namespaces and a kubectl; .ci/run runs them.
  doCheck = false;

  meta = {
    description = (lib.importTOML (../. + "/${package}/Cargo.toml")).package.description;
    license = [
      lib.licenses.mit
      lib.licenses.asl20
    ];
    mainProgram = program;
    platforms = if program == "lkc-guest" then lib.platforms.linux else lib.platforms.unix;
  };
}
