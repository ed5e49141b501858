// What is dragged within the page: a hit on its way into the box, or a chip on its way out.

export type Dragged = { picture: string } | { chip: number };

class Drag {
  item: Dragged | null = $state.raw(null);

  start(event: DragEvent, item: Dragged): void {
    // A browser drags nothing that has no data.
    event.dataTransfer?.setData("text/plain", "picture" in item ? item.picture : String(item.chip));
    this.item = item;
  }

  end(): void {
    this.item = null;
  }
}

export const drag = new Drag();
