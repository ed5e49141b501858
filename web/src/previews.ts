// Small copies of pictures that were searched by, for their chips: the address holds a vector alone.

const PIXELS = 96;

/** Keeps a small copy of a picture for as long as this tab lives. */
export async function keep(packed: string, image: File): Promise<void> {
  try {
    const bitmap = await createImageBitmap(image);
    const scale = Math.min(1, PIXELS / Math.min(bitmap.width, bitmap.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(bitmap.width * scale));
    canvas.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    sessionStorage.setItem(packed, canvas.toDataURL("image/jpeg", 0.8));
  } catch {
    // A format that the browser cannot draw, or a full store: the chip shows a sign instead.
  }
}

/** The small copy; null where the link was made elsewhere. */
export function of(packed: string): string | null {
  return sessionStorage.getItem(packed);
}
