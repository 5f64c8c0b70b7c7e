# A unit file as NixOS takes a unit: its settings by section and name, several of one name as a list.
{ lib }:
file:
let
  # Its text is not to become part of what the values are made of.
  text = builtins.unsafeDiscardStringContext (builtins.readFile file);
  lines = builtins.filter (line: line != "" && !lib.hasPrefix "#" line) (lib.splitString "\n" text);

  read =
    { section, settings }:
    line:
    let
      heading = builtins.match "\\[([A-Za-z]+)]" line;
      setting = builtins.match "([A-Za-z]+)=(.*)" line;
      name = builtins.head setting;
      others = settings.${section} or { };
    in
    if heading != null then
      {
        section = builtins.head heading;
        inherit settings;
      }
    else if setting == null || section == null then
      throw "${toString file}: not a setting of a unit: ${line}"
    else
      {
        inherit section;
        settings = settings // {
          ${section} = others // {
            ${name} = (others.${name} or [ ]) ++ [ (lib.last setting) ];
          };
        };
      };

  plain = values: if builtins.length values == 1 then builtins.head values else values;
in
lib.mapAttrs (_: lib.mapAttrs (_: plain))
  (builtins.foldl' read
    {
      section = null;
      settings = { };
    }
    lines).settings
