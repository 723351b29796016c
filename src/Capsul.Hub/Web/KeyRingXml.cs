using System.Globalization;
using System.Text;
using System.Xml.Linq;
using Capsul.Hub.Storage;
using Microsoft.AspNetCore.DataProtection.Repositories;

namespace Capsul.Hub.Web;

/// <summary>
/// Keeps ASP.NET's data protection keys (form tokens) in the key ring, so that every Hub on the database can read them.
/// </summary>
public sealed class KeyRingXml(KeyRing ring, TimeProvider time) : IXmlRepository
{
    const string Prefix = "data-protection/";

    public IReadOnlyCollection<XElement> GetAllElements() =>
        [.. ring.List(Prefix).Select(entry => XElement.Parse(Encoding.UTF8.GetString(entry.Content)))];

    public void StoreElement(XElement element, string friendlyName) =>
        ring.Write(
            Prefix + (string.IsNullOrEmpty(friendlyName)
                ? time.GetUtcNow().ToString("yyyyMMddHHmmssfffffff", CultureInfo.InvariantCulture)
                : friendlyName),
            Encoding.UTF8.GetBytes(element.ToString(SaveOptions.DisableFormatting)));
}
