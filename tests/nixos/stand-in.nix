# The few functions of nixpkgs' `lib`, `utils` and `pkgs` that our module uses, and enough of module
# evaluation to see what it makes of a configuration. For machines that have nix and no nixpkgs.
#
# It merges by concatenating lists and joining sets; it knows no priorities and checks no types.
{
  system ? "x86_64-linux",
}:
let
  inherit (builtins)
    concatStringsSep
    filter
    foldl'
    isAttrs
    isList
    length
    mapAttrs
    replaceStrings
    stringLength
    substring
    toJSON
    ;

  lib = {
    inherit concatStringsSep;
    any = builtins.any;
    inherit (builtins) concatMap;
    concatLines = lines: concatStringsSep "" (map (line: line + "\n") lines);
    getExe' = package: name: "${package}/bin/${name}";
    hasInfix = part: text: length (filter isList (builtins.split (escaped part) text)) > 0;
    hasPrefix = start: text: substring 0 (stringLength start) text == start;
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    literalExpression = text: { inherit text; };
    mkEnableOption = description: {
      _type = "option";
      default = false;
      inherit description;
    };
    mkIf = condition: content: {
      _type = "if";
      inherit condition content;
    };
    mkMerge = contents: {
      _type = "merge";
      inherit contents;
    };
    mkOption = option: option // { _type = "option"; };
    optional = condition: item: if condition then [ item ] else [ ];
    optionals = condition: items: if condition then items else [ ];
    types = {
      bool = "bool";
      listOf = type: "list of ${type}";
      nullOr = type: "null or ${type}";
      package = "package";
      str = "string";
    };

    fileset = {
      toSource = source: source;
      unions = paths: filter (path: builtins.pathExists path || throw "${toString path} is gone") paths;
    };
    licenses = {
      asl20.spdxId = "Apache-2.0";
      mit.spdxId = "MIT";
    };
    platforms = {
      linux = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      unix = lib.platforms.linux ++ [
        "x86_64-darwin"
        "aarch64-darwin"
      ];
    };
  };

  escaped = text: replaceStrings [ "-" "." "+" ] [ "[-]" "[.]" "[+]" ] text;

  # As NixOS does it: systemd expands % and $, and reads quoted words.
  utils.escapeSystemdExecArgs =
    arguments:
    let
      one = argument: replaceStrings [ "%" "$" ] [ "%%" "$$" ] (toJSON (toString argument));
    in
    concatStringsSep " " (map one arguments);

  store = name: "${builtins.storeDir}/00000000000000000000000000000000-${name}";

  pkgs = {
    inherit system;
    k3s = store "k3s";
    writeText = name: text: {
      outPath = store name;
      inherit text;
    };
    rustPlatform.buildRustPackage =
      package: package // { outPath = store "${package.pname}-${package.version}-${system}"; };
    callPackage =
      path: arguments:
      import path (
        {
          inherit lib;
          inherit (pkgs) rustPlatform;
        }
        // arguments
      );
  };

  merge =
    left: right:
    if isList left && isList right then
      left ++ right
    else if isAttrs left && isAttrs right && !(left ? outPath) then
      left
      // mapAttrs (name: value: if left ? ${name} then merge left.${name} value else value) right
    else
      right;

  resolve =
    value:
    if !isAttrs value || value ? outPath then
      value
    else if value._type or null == "if" then
      if value.condition then resolve value.content else { }
    else if value._type or null == "merge" then
      foldl' merge { } (map resolve value.contents)
    else
      mapAttrs (_: resolve) value;

  defaults =
    options:
    mapAttrs (
      name: option:
      if option._type or null == "option" then
        option.default or (throw "${name} has no default")
      else
        defaults option
    ) options;

  # What `services.k3s` is when nobody sets anything.
  k3sDefaults = {
    enable = false;
    configPath = null;
    extraFlags = [ ];
    nodeIP = null;
    nodeName = null;
  };
in
{
  inherit lib pkgs;

  # What the module makes of `services.lkc-guest = guest` and `services.k3s = k3s`.
  evaluate =
    {
      guest ? { },
      k3s ? { },
    }:
    let
      module = import ../../nixos-module {
        inherit lib pkgs utils;
        config.services = {
          lkc-guest = merge (defaults module.options.services.lkc-guest) guest;
          k3s = k3sDefaults // k3s;
        };
      };
      made = resolve module.config;
    in
    made
    // {
      failures = map (check: check.message) (
        filter (check: !check.assertion) (made.assertions or [ ])
      );
    };
}
