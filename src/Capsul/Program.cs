using Capsul.Cli;

return await CommandLine.RunAsync(args);
