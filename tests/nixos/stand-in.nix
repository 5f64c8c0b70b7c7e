# The few functions of nixpkgs' `lib`, `utils` and `pkgs` that our modules use, and enough of module
# evaluation to see what they make of a configuration. For machines that have nix and no nixpkgs.
#
# It merges by concatenating lists and joining sets; it knows no priorities and checks no types.
{ system ? "x86_64-linux" }:
let
  inherit (builtins)
    attrNames
    concatMap
    concatStringsSep
    elem
    filter
    foldl'
    head
    isAttrs
    isList
    length
    listToAttrs
    mapAttrs
    replaceStrings
    stringLength
    substring
    tail
    toJSON
    ;

  lib = {
    inherit
      concatMap
      concatStringsSep
      elem
      filter
      head
      listToAttrs
      mapAttrs
      ;
    any = builtins.any;
    attrValues = builtins.attrValues;
    concatStrings = concatStringsSep "";
    concatLines = lines: concatStringsSep "" (map (line: line + "\n") lines);
    filterAttrs =
      keep: set: removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
    filterAttrsRecursive =
      keep: set:
      mapAttrs (_: value: if isAttrs value then lib.filterAttrsRecursive keep value else value) (
        lib.filterAttrs keep set
      );
    fixedWidthString =
      width: fill: text: if stringLength text >= width then text else lib.fixedWidthString width fill (fill + text);
    genAttrs = names: make: listToAttrs (map (name: { inherit name; value = make name; }) names);
    getExe' = package: name: "${package}/bin/${name}";
    hasInfix = part: text: length (filter isList (builtins.split (escaped part) text)) > 0;
    hasPrefix = start: text: substring 0 (stringLength start) text == start;
    hasSuffix =
      end: text:
      stringLength text >= stringLength end
      && substring (stringLength text - stringLength end) (stringLength end) text == end;
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    intersectLists = left: filter (item: elem item left);
    last = list: builtins.elemAt list (length list - 1);
    literalExpression = text: { inherit text; };
    makeBinPath = packages: concatStringsSep ":" (map (package: "${package}/bin") packages);
    mapAttrsToList = make: set: map (name: make name set.${name}) (attrNames set);
    mkAliasOptionModule = from: to: { alias = { inherit from to; }; };
    mkDefault = value: value;
    mkEnableOption = description: {
      _type = "option";
      default = false;
      type = lib.types.bool;
      inherit description;
    };
    mkForce = value: value;
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
    optionalAttrs = condition: set: if condition then set else { };
    optionals = condition: items: if condition then items else [ ];
    recursiveUpdate =
      left: right:
      left
      // mapAttrs
        (name: value:
        if isAttrs value && isAttrs (left.${name} or null) then
          lib.recursiveUpdate left.${name} value
        else
          value
        )
        right;
    splitString = separator: text: filter builtins.isString (builtins.split (escaped separator) text);
    toHexString =
      number:
      let
        digit = substring (number - number / 16 * 16) 1 "0123456789ABCDEF";
      in
      if number < 16 then digit else lib.toHexString (number / 16) + digit;
    toLower = replaceStrings [ "A" "B" "C" "D" "E" "F" ] [ "a" "b" "c" "d" "e" "f" ];
    toInt = text: builtins.fromJSON text;

    # What a type makes of a value that somebody has set: a submodule adds its defaults.
    types = {
      attrs = plain;
      attrsOf = type: value: mapAttrs (_: type) value;
      bool = plain;
      ints = {
        between = _: _: plain;
        positive = plain;
      };
      listOf = type: value: map type value;
      nullOr = type: value: if value == null then null else type value;
      package = plain;
      port = plain;
      str = plain;
      submodule =
        { options }:
        value:
        mapAttrs (name: option: if value ? ${name} then option.type value.${name} else option.default) options;
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

  plain = value: value;
  escaped = replaceStrings [ "-" "." "+" ] [ "[-]" "[.]" "[+]" ];

  # As NixOS does it: systemd expands % and $, and reads quoted words.
  utils.escapeSystemdExecArgs =
    arguments:
    let
      one = argument: replaceStrings [ "%" "$" ] [ "%%" "$$" ] (toJSON (toString argument));
    in
    concatStringsSep " " (map one arguments);

  store = name: "${builtins.storeDir}/00000000000000000000000000000000-${name}";
  # A derivation that is never built: its name, and all that it is made of.
  made = name: parts: parts // { outPath = store name; };

  pkgs = {
    inherit lib system;
    stdenv.hostPlatform = {
      inherit system;
      isDarwin = lib.hasSuffix "-darwin" system;
      isLinux = lib.hasSuffix "-linux" system;
      isAarch64 = lib.hasPrefix "aarch64-" system;
    };
    k3s = made "k3s" { };
    deadnix = made "deadnix" { };
    kubectl = made "kubectl" { };
    nixpkgs-fmt = made "nixpkgs-fmt" { };
    writeText = name: text: made name { inherit text; };
    runCommand = name: environment: script: made name { inherit environment script; };
    linkFarm = name: entries: made name { inherit entries; };
    formats.toml = _: {
      type = plain;
      generate = name: value: made name { inherit value; };
    };
    rustPlatform.buildRustPackage =
      package: made "${package.pname}-${package.version}-${system}" package;
    testers.runNixOSTest = test: made "vm-test-run-${test.name}" test;
    callPackage =
      path: arguments:
      import path (builtins.intersectAttrs (builtins.functionArgs (import path)) (pkgs // { inherit lib pkgs; }) // arguments);
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

  # A tree without its conditions.
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

  # What a tree says at a path. A condition is only looked at where something stands behind it.
  definitions =
    path: tree:
    if tree._type or null == "if" then
      concatMap (value: if tree.condition then [ value ] else [ ]) (definitions path tree.content)
    else if tree._type or null == "merge" then
      concatMap (definitions path) tree.contents
    else if path == [ ] then
      [ (resolve tree) ]
    else if tree ? ${head path} then
      definitions (tail path) tree.${head path}
    else
      [ ];

  at = path: value: foldl' (value: name: { ${name} = value; }) value (reversed path);
  reversed = list: foldl' (list: item: [ item ] ++ list) [ ] list;

  # Every option that is declared: its path and what it is.
  declared =
    path: options:
    if options._type or null == "option" then
      [{ inherit path; option = options; }]
    else
      concatMap (name: declared (path ++ [ name ]) options.${name}) (attrNames options);

  # What `modules` make of `settings`, which stand for all the rest of the configuration too.
  evaluate =
    modules: settings:
    let
      arguments = {
        inherit config lib pkgs utils;
        modulesPath = "/nixpkgs/nixos/modules";
      };
      open =
        module:
        let
          value = if builtins.isPath module then import module else module;
          # A module of nixpkgs is named by a text, and is not here.
          content =
            if builtins.isString value then
              { }
            else if builtins.isFunction value then
              value arguments
            else
              value;
        in
        [ content ] ++ concatMap open (content.imports or [ ]);
      opened = concatMap open modules;
      parts = map
        (module:
          module.config or (if module ? options || module ? alias then { } else removeAttrs module [ "imports" ])
        )
        opened;

      aliases = concatMap (module: if module ? alias then [ module.alias ] else [ ]) opened;
      said = foldl' merge settings (
        concatMap (alias: map (at alias.to) (definitions alias.from settings)) aliases
      );

      value =
        { path, option }:
        let
          values = definitions path said ++ concatMap (definitions path) parts;
        in
        if values != [ ] then
          option.type (foldl' merge (head values) (tail values))
        else
          option.default or (throw "${concatStringsSep "." path} is not set");
      options = concatMap (module: declared [ ] (module.options or { })) opened;
      config = foldl' lib.recursiveUpdate settings (
        map (option: at option.path (value option)) options
      );
      result = foldl' merge { } (map resolve parts);
    in
    result
    // {
      failures = map (check: check.message) (
        filter (check: !check.assertion) (result.assertions or [ ])
      );
    };

  # nixpkgs as a flake has it.
  nixpkgs = {
    outPath = "/nixpkgs";
    legacyPackages =
      lib.genAttrs lib.platforms.unix (system: (import ./stand-in.nix { inherit system; }).pkgs);
    lib = lib // {
      nixosSystem =
        { modules }:
        let
          made = evaluate ([ nixos ] ++ modules) { };
        in
        {
          config = made // {
            image = made.image or { } // { filePath = "image"; };
            system = made.system // {
              build = {
                image = store "image";
                metadata = store "metadata";
                qemuImage = store "qemu-image";
              };
            };
          };
        };
    };
  };

  # What of NixOS' own options our modules read.
  nixos.options = {
    services.k3s = lib.mapAttrs (_: default: lib.mkOption { inherit default; type = plain; }) {
      enable = false;
      configPath = null;
      extraFlags = [ ];
      nodeIP = null;
      nodeName = null;
    };
    system.nixos.release = lib.mkOption { default = "26.05"; type = plain; };
  };

  # Names of the checks that do not hold.
  broken = checks: filter (name: !checks.${name}) (attrNames checks);
in
{
  inherit
    broken
    evaluate
    lib
    nixos
    nixpkgs
    pkgs
    ;
}
