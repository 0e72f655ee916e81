"""One reader per layout on disk, each a pure parser beside its file access, each producing a
`wsol.manifest.Manifest`."""
