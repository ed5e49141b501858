// Files that were dropped, pasted or chosen, with those inside of folders.

/** All files of a drop. The entries must be asked for before the event is over. */
export async function dropped(data: DataTransfer): Promise<File[]> {
  const entries = [...data.items].map((item) => item.webkitGetAsEntry());
  const files = [...data.files];
  if (!entries.some((entry) => entry?.isDirectory)) return files;
  const found = await Promise.all(entries.map((entry) => (entry ? below(entry) : [])));
  return found.flat();
}

/** What can be a picture by its type; files whose type is unknown are for the server to judge. */
export function pictures(files: Iterable<File>): File[] {
  return [...files].filter(({ type }) => type === "" || type.startsWith("image/"));
}

async function below(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) {
    const one = entry as FileSystemFileEntry;
    return [await new Promise<File>((resolve, reject) => one.file(resolve, reject))];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const files: File[] = [];
  // A reader gives its entries in parts, and an empty part at the end.
  for (;;) {
    const part = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (part.length === 0) return files;
    files.push(...(await Promise.all(part.map(below))).flat());
  }
}
