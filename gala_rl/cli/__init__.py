"""The command line of `gala`: parser, options, output and one file per larger command."""
