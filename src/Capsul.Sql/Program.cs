using System.CommandLine;
using Capsul.Cli;

return await CommandLine.RunAsync(new RootCommand { SqlVerb.Make() }, args);
