using Google.Protobuf.Reflection;
using Previous = Capsul.Tests.Link.Previous;

namespace Capsul.Tests.House;

/// <summary>
/// The contract only adds to the one of the version before: Hub and Spoke may be one version apart, so whatever the
/// older one knows must have the same number, name and type in the newer one.
/// </summary>
public sealed class ContractTests
{
    [Fact]
    public void The_contract_only_adds_to_the_previous_one() =>
        Differences(Previous.LinkV2Reflection.Descriptor, Capsul.Wire.LinkReflection.Descriptor).ShouldBeEmpty();

    [Fact]
    public void A_field_that_changes_is_noticed()
    {
        var missing = Differences(Capsul.Wire.LinkReflection.Descriptor, Previous.LinkV2Reflection.Descriptor);
        missing.ShouldContain("field VmReport.paused = 15 (Bool)");
        missing.ShouldContain("message Applied");
    }

    static IReadOnlyList<string> Differences(FileDescriptor before, FileDescriptor now) =>
        [.. Facts(before).Except(Facts(now), StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    static IEnumerable<string> Facts(FileDescriptor file)
    {
        yield return $"package {file.Package}";
        foreach (var message in file.MessageTypes)
        {
            yield return $"message {message.Name}";
            foreach (var field in message.Fields.InDeclarationOrder()) yield return Fact(message, field);
        }
        foreach (var value in file.EnumTypes.SelectMany(e => e.Values))
            yield return $"value {value.EnumDescriptor.Name}.{value.Name} = {value.Number}";
        foreach (var method in file.Services.SelectMany(s => s.Methods))
            yield return $"call {method.FullName}({Stream(method.IsClientStreaming)}{method.InputType.Name}) returns "
                + $"{Stream(method.IsServerStreaming)}{method.OutputType.Name}";
    }

    static string Fact(MessageDescriptor message, FieldDescriptor field)
    {
        var type = field.FieldType switch
        {
            FieldType.Message => field.MessageType.Name,
            FieldType.Enum => field.EnumType.Name,
            _ => field.FieldType.ToString(),
        };
        var oneof = field.ContainingOneof is { IsSynthetic: false } one ? $", one of {one.Name}" : "";
        return $"field {message.Name}.{field.Name} = {field.FieldNumber} ({(field.IsRepeated ? "repeated " : "")}{type}"
            + $"{oneof})";
    }

    static string Stream(bool streams) => streams ? "stream " : "";
}
